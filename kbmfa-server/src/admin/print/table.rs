//! Tables for people: aligned columns that fit the terminal. On a narrow one, columns are shortened first,
//! then the least important ones are omitted. A line never wraps. Pure.

use std::fmt::Write as _;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Blanks between two columns.
const GAP: usize = 2;

/// One column of a table.
#[derive(Debug, Clone, Copy)]
pub(in crate::admin) struct Column {
    heading: &'static str,
    /// Minimum width; `None` for a column that is never shortened, such as an id.
    shortest: Option<usize>,
    /// Columns with a rank may be omitted, the highest rank first; columns without one never are.
    rank: u8,
    colour: Colour,
}

/// What the colour of a column's cells shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Colour {
    Plain,
    State,
}

impl Column {
    /// A column that is neither shortened nor omitted.
    pub(in crate::admin) const fn whole(heading: &'static str) -> Self {
        Self { heading, shortest: None, rank: 0, colour: Colour::Plain }
    }

    /// A column whose cells may be cut to this many characters.
    pub(in crate::admin) const fn short(heading: &'static str, shortest: usize) -> Self {
        Self { shortest: Some(shortest), ..Self::whole(heading) }
    }

    /// Allows that this column is omitted. Columns with the highest rank are omitted first.
    pub(in crate::admin) const fn rank(self, rank: u8) -> Self {
        Self { rank, ..self }
    }

    /// Colours this column's states on a terminal.
    pub(in crate::admin) const fn state(self) -> Self {
        Self { colour: Colour::State, ..self }
    }
}

/// The output of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::admin) struct Screen {
    /// Characters in a line; `None` without a limit, as in a file or a pipe.
    pub(in crate::admin) width: Option<usize>,
    /// Whether colour is wanted.
    pub(in crate::admin) colour: bool,
}

/// A table with its headings, without a newline at the end.
pub(in crate::admin) fn table(columns: &[Column], rows: &[Vec<String>], screen: Screen) -> String {
    let rows: Vec<Vec<String>> =
        rows.iter().map(|row| row.iter().map(|text| unforgeable(text)).collect()).collect();
    let widths = fit(columns, &natural_widths(columns, &rows), screen.width);
    let headings: Vec<String> = columns.iter().map(|column| column.heading.to_owned()).collect();
    let mut text = line(columns, &headings, &widths, false);
    for row in &rows {
        let _ = write!(text, "\n{}", line(columns, row, &widths, screen.colour));
    }
    text
}

/// Lays out a single row, for `login watch`. The widths are fixed, because the later rows are not known.
pub(in crate::admin) fn row(columns: &[(Column, usize)], cells: &[String], screen: Screen) -> String {
    let (columns, natural): (Vec<_>, Vec<_>) = columns.iter().copied().unzip();
    let cells: Vec<String> = cells.iter().map(|text| unforgeable(text)).collect();
    let widths = fit(&columns, &natural, screen.width);
    line(&columns, &cells, &widths, screen.colour)
}

/// The headings of [`row`].
pub(in crate::admin) fn heading(columns: &[(Column, usize)], screen: Screen) -> String {
    let headings: Vec<String> = columns.iter().map(|(column, _)| column.heading.to_owned()).collect();
    row(columns, &headings, Screen { colour: false, ..screen })
}

/// A text in which a blank at an end, or beside another blank, is written as `\u{20}`: names may contain
/// blanks, and a name could be chosen to look like two cells.
fn unforgeable(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    let mut characters = text.chars().peekable();
    let mut after_blank = true;
    while let Some(c) = characters.next() {
        let ends = characters.peek().is_none();
        if c == ' ' && (after_blank || ends) {
            safe.push_str("\\u{20}");
        } else {
            safe.push(c);
        }
        after_blank = c == ' ';
    }
    safe
}

fn natural_widths(columns: &[Column], rows: &[Vec<String>]) -> Vec<usize> {
    let widest = |n: usize, column: &Column| {
        let cells = rows.iter().filter_map(|row| row.get(n)).map(|text| text.width());
        cells.chain([column.heading.width()]).max().unwrap_or(0)
    };
    columns.iter().enumerate().map(|(n, column)| widest(n, column)).collect()
}

/// The width of each column, or `None` for an omitted one, so that a line fits into `room`.
fn fit(columns: &[Column], natural: &[usize], room: Option<usize>) -> Vec<Option<usize>> {
    let mut widths: Vec<Option<usize>> = natural.iter().copied().map(Some).collect();
    let Some(room) = room else { return widths };
    let shortest: Vec<usize> = columns
        .iter()
        .zip(natural)
        .map(|(column, natural)| column.shortest.map_or(*natural, |shortest| shortest.min(*natural)))
        .collect();
    // Omits columns until the rest can fit.
    while total(widths.iter().zip(&shortest).filter_map(|(width, shortest)| width.map(|_| *shortest))) > room
    {
        let kept = columns
            .iter()
            .enumerate()
            .filter(|(n, column)| column.rank > 0 && widths.get(*n).copied().flatten().is_some());
        let Some((least, _)) = kept.max_by_key(|(_, column)| column.rank) else { break };
        if let Some(width) = widths.get_mut(least) {
            *width = None;
        }
    }
    shrink(&mut widths, &shortest, room);
    // A terminal that is narrower than the columns that are never shortened: lines are cut, not wrapped.
    shrink(&mut widths, &vec![1; natural.len()], room);
    widths
}

/// Shortens the widest column by one character at a time, down to the minimum widths.
fn shrink(widths: &mut [Option<usize>], shortest: &[usize], room: usize) {
    while total(widths.iter().filter_map(|width| *width)) > room {
        let can_give = widths
            .iter_mut()
            .zip(shortest)
            .filter_map(|(width, shortest)| width.as_mut().filter(|width| **width > *shortest));
        let Some(widest) = can_give.max_by_key(|width| **width) else { return };
        *widest -= 1;
    }
}

fn total(widths: impl Iterator<Item = usize>) -> usize {
    let (count, sum) = widths.fold((0, 0), |(count, sum), width| (count + 1, sum + width));
    sum + GAP * usize::saturating_sub(count, 1)
}

fn line(columns: &[Column], cells: &[String], widths: &[Option<usize>], colour: bool) -> String {
    let mut line = String::new();
    let mut owed = 0;
    for ((column, cell), width) in columns.iter().zip(cells).zip(widths) {
        let Some(width) = *width else { continue };
        let shown = cut(cell, width);
        line.extend(std::iter::repeat_n(' ', owed));
        owed = GAP + width.saturating_sub(shown.width());
        match style(column.colour, cell).filter(|_| colour) {
            Some(style) => {
                let _ = write!(line, "{style}{shown}{style:#}");
            }
            None => line.push_str(&shown),
        }
    }
    line
}

/// The beginning of a text, with `…` for the rest if it is wider than `width`.
fn cut(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let mut shown = String::new();
    for c in text.chars() {
        if shown.width() + c.width().unwrap_or(0) >= width {
            break;
        }
        shown.push(c);
    }
    shown.push('…');
    shown
}

fn style(colour: Colour, state: &str) -> Option<anstyle::Style> {
    use anstyle::AnsiColor::{Green, Red, Yellow};
    let colour = match (colour, state) {
        (Colour::Plain, _) => return None,
        (Colour::State, "pending" | "suspended") => Yellow,
        (Colour::State, "approved" | "active" | "live" | "open") => Green,
        (Colour::State, "denied" | "expired" | "ended" | "removed" | "revoked") => Red,
        (Colour::State, _) => return Some(anstyle::Style::new().dimmed()),
    };
    Some(colour.on_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const COLUMNS: &[Column] = &[
        Column::whole("LOGIN"),
        Column::short("USER", 6),
        Column::short("KEY", 8).rank(2),
        Column::whole("STATE").state(),
        Column::short("BY", 4).rank(1),
    ];

    fn rows() -> Vec<Vec<String>> {
        let row = ["3f9a2c1e", "alexandra.longname", "SHA256:abcdefghijklmnop", "pending", "console:root"];
        vec![row.map(str::to_owned).to_vec()]
    }

    fn at(width: usize) -> String {
        table(COLUMNS, &rows(), Screen { width: Some(width), colour: false })
    }

    #[test]
    fn a_table_gets_shorter_then_loses_its_least_important_columns() {
        insta::assert_snapshot!(at(80), @r"
        LOGIN     USER                KEY                      STATE    BY
        3f9a2c1e  alexandra.longname  SHA256:abcdefghijklmnop  pending  console:root
        ");
        insta::assert_snapshot!(at(50), @r"
        LOGIN     USER       KEY        STATE    BY
        3f9a2c1e  alexandr…  SHA256:a…  pending  console:…
        ");
        insta::assert_snapshot!(at(36), @r"
        LOGIN     USER      STATE    BY
        3f9a2c1e  alexand…  pending  consol…
        ");
        insta::assert_snapshot!(at(25), @r"
        LOGIN     USER    STATE
        3f9a2c1e  alexa…  pending
        ");
    }

    #[test]
    fn in_a_pipe_nothing_is_cut() {
        let text = table(COLUMNS, &rows(), Screen { width: None, colour: false });
        assert!(text.contains("SHA256:abcdefghijklmnop  pending  console:root"), "{text}");
    }

    #[test]
    fn no_name_can_look_like_two_cells() {
        let forged = vec![["1", "eve  SHA256:x  approved ", "-", "denied", "-"].map(str::to_owned).to_vec()];
        let text = table(COLUMNS, &forged, Screen { width: None, colour: false });
        let row = text.lines().last().unwrap();
        let gaps = row.split("  ").filter(|cell| !cell.trim().is_empty()).count();
        assert_eq!(gaps, COLUMNS.len(), "{row}");
        assert!(row.contains(r"eve \u{20}SHA256:x \u{20}approved\u{20}"), "{row}");
    }

    #[test]
    fn colour_marks_the_state_alone_and_only_where_it_is_wanted() {
        let text = table(COLUMNS, &rows(), Screen { width: None, colour: true });
        assert!(text.contains("\u{1b}[33mpending\u{1b}[0m"), "{text:?}");
        assert_eq!(text.matches('\u{1b}').count(), 2);
        assert!(!at(80).contains('\u{1b}'));
    }

    proptest! {
        #[test]
        fn no_line_is_wider_than_the_terminal(
            cells in proptest::collection::vec("[a-z漢é ]{0,30}", 5),
            width in 9_usize..100,
        ) {
            let text = table(COLUMNS, &[cells], Screen { width: Some(width), colour: false });
            for line in text.lines() {
                prop_assert!(line.width() <= width, "{line:?}");
            }
        }
    }
}

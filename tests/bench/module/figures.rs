//! Formats figures: one line each, with the median, the minimum and the maximum.

/// Prints one line with several columns: the values of each variant.
pub(crate) fn row(name: &str, columns: &[&[f64]]) {
    let shown: Vec<String> = columns.iter().map(|values| format!("{:>26}", of(values))).collect();
    println!("{name:<44}{}", shown.concat());
}

/// Prints the headings of the columns.
pub(crate) fn heads(names: &[&str]) {
    let shown: Vec<String> = names.iter().map(|name| format!("{name:>26}")).collect();
    println!("{:<44}{}", "", shown.concat());
}

/// The median.
pub(crate) fn middle(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let half = sorted.len() / 2;
    if sorted.len() % 2 == 1 { sorted[half] } else { f64::midpoint(sorted[half - 1], sorted[half]) }
}

fn of(values: &[f64]) -> String {
    let (least, most) =
        (values.iter().copied().fold(f64::MAX, f64::min), values.iter().copied().fold(f64::MIN, f64::max));
    let middle = middle(values);
    if values.iter().all(|value| value.fract() == 0.0) {
        return if least < most { format!("{middle} ({least} - {most})") } else { format!("{middle}") };
    }
    format!("{middle:.2} ({least:.2} - {most:.2})")
}

//! Prints the figures as one table.

use crate::login::{CLIENTS, Sample};

/// The rows, by their names in a sample.
const ROWS: [&str; 15] = [
    "ssh's start to the ask with its reactions",
    "reaction stands to the shell",
    "listener's print to the shell",
    "of which until the machine learns of it",
    "double: order to react to listener's print",
    "ssh's start to the shell",
    "CPU of the server and its `keybase` clients",
    CLIENTS,
    "CPU on the machine",
    "CPU of server, clients and machine",
    "(CPU of the double's service and cloud)",
    "processes on the machine",
    "`keybase` clients started",
    "HTTP requests",
    "Keybase requests",
];

/// Prints the figures of the variants, in the order in which they ran: kbmfa, the old tool, sshd alone.
pub(crate) fn print(samples: &[Vec<Sample>; 3]) {
    let heads = ["kbmfa", "the old way", "sshd alone"];
    println!("{:<46}{:>24}{:>28}{:>10}{:>24}", "", heads[0], heads[1], "old/ours", heads[2]);
    for name in ROWS {
        let [ours, old, plain] = samples.each_ref().map(|way| of(way, name));
        let ratio = match (middle(name, &ours), middle(name, &old)) {
            (Some(ours), Some(old)) if ours > 0.0 => format!("{:.1}", old / ours),
            _ => String::new(),
        };
        let [ours, old, plain] = [&ours, &old, &plain].map(|values| shown(name, values));
        println!("{}", format!("{name:<46}{ours:>24}{old:>28}{ratio:>10}{plain:>24}").trim_end());
    }
}

/// Prints one line: the median, the minimum and the maximum.
pub(crate) fn line(name: &str, values: &[f64]) {
    println!("{name:<46}{:>24}", shown("", values));
}

fn of(way: &[Sample], name: &str) -> Vec<f64> {
    way.iter().filter_map(|sample| Some(sample.iter().find(|(found, _)| *found == name)?.1)).collect()
}

fn middle(name: &str, values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    if name == CLIENTS {
        let count = f64::from(u32::try_from(sorted.len()).unwrap());
        return (!sorted.is_empty()).then(|| sorted.iter().sum::<f64>() / count);
    }
    let half = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        odd if odd % 2 == 1 => Some(sorted[half]),
        _ => Some(f64::midpoint(sorted[half - 1], sorted[half])),
    }
}

fn shown(name: &str, values: &[f64]) -> String {
    let Some(middle) = middle(name, values) else { return "-".to_owned() };
    let (least, most) =
        (values.iter().copied().fold(f64::MAX, f64::min), values.iter().copied().fold(0.0, f64::max));
    if name == CLIENTS {
        return format!("{middle:.1}");
    }
    if values.iter().all(|value| value.fract() == 0.0) {
        return format!("{middle} ({least} - {most})");
    }
    format!("{middle:.1} ({least:.1} - {most:.1})")
}

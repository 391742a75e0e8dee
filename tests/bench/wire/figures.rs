//! Reads CPU time and memory of processes, and formats figures.

use std::fs;
use std::time::SystemTime;

/// Length of the clock tick in which Linux reports CPU time, in milliseconds.
const TICK_MS: f64 = 10.0;

/// CPU time of a process so far, in milliseconds.
pub(crate) fn cpu_ms(pid: u32) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields = stat.rsplit(')').next().unwrap().split_whitespace().skip(11).take(2);
    fields.map(|ticks| ticks.parse::<f64>().unwrap() * TICK_MS).sum()
}

/// Resident memory of a process, in kB.
pub(crate) fn rss_kb(pid: u32) -> f64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// Microseconds since 1970, the same in every process.
pub(crate) fn now_us() -> i64 {
    i64::try_from(SystemTime::UNIX_EPOCH.elapsed().unwrap().as_micros()).unwrap()
}

/// The median, the 99th percentile and the maximum.
pub(crate) fn spread(values: &mut [f64]) -> [f64; 3] {
    values.sort_by(f64::total_cmp);
    let last = values.len() - 1;
    [values[last / 2], values[last * 99 / 100], values[last]]
}

/// The computer's load in the last minute.
pub(crate) fn load_average() -> String {
    fs::read_to_string("/proc/loadavg").unwrap().split(' ').next().unwrap().to_owned()
}

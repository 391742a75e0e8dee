//! Reads a process's memory. Needs root.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;

/// Length of the pieces of a secret that are searched, in bytes. If a secret is at least twice as long, it is
/// found even after a part of it was overwritten.
const PIECE: usize = 16;

/// True if the process's writable memory contains this text or a piece of it.
pub fn holds(pid: u32, text: &str) -> bool {
    let pieces: Vec<&[u8]> = text.as_bytes().chunks(PIECE).filter(|piece| piece.len() == PIECE).collect();
    let pieces = if pieces.is_empty() { vec![text.as_bytes()] } else { pieces };
    let memory = File::open(format!("/proc/{pid}/mem")).unwrap();
    writable(pid).into_iter().any(|(start, end)| {
        let mut bytes = vec![0; usize::try_from(end - start).unwrap()];
        // A part of the stack's mapping may not exist yet.
        memory.read_exact_at(&mut bytes, start).is_ok() && pieces.iter().any(|piece| find(&bytes, piece))
    })
}

/// Start and end of each writable mapping.
fn writable(pid: u32) -> Vec<(u64, u64)> {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    let mapping = |line: &str| {
        let (range, rest) = line.split_once(' ')?;
        let (start, end) = range.split_once('-')?;
        let number = |text| u64::from_str_radix(text, 16).ok();
        rest.starts_with("rw").then_some((number(start)?, number(end)?))
    };
    maps.lines().filter_map(mapping).collect()
}

fn find(bytes: &[u8], wanted: &[u8]) -> bool {
    let Some((first, rest)) = wanted.split_first() else { return false };
    let mut left = bytes;
    while let Some(at) = left.iter().position(|byte| byte == first) {
        left = &left[at + 1..];
        if left.starts_with(rest) {
            return true;
        }
    }
    false
}

//! The only reader of clocks.

use rustix::time::{ClockId, Timespec, clock_gettime};

/// Milliseconds since 1970.
pub(crate) fn wall_ms() -> u64 {
    micros(clock_gettime(ClockId::Realtime)) / 1000
}

/// Microseconds of `CLOCK_MONOTONIC`, which all processes of a computer share.
pub(crate) fn monotonic_us() -> u64 {
    micros(clock_gettime(ClockId::Monotonic))
}

fn micros(time: Timespec) -> u64 {
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    seconds * 1_000_000 + u64::try_from(time.tv_nsec).unwrap_or_default() / 1000
}

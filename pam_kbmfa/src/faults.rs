//! Injects faults, to show that sshd lets nobody in when the module breaks. Compiled only into test builds.

use std::hint::black_box;
use std::str::FromStr;

/// One kind of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    Panic,
    Overflow,
    Exit,
    Abort,
    Overread,
    Leak,
}

impl FromStr for Fault {
    type Err = ();
    fn from_str(name: &str) -> Result<Self, ()> {
        match name {
            "panic" => Ok(Self::Panic),
            "overflow" => Ok(Self::Overflow),
            "exit" => Ok(Self::Exit),
            "abort" => Ok(Self::Abort),
            "overread" => Ok(Self::Overread),
            "leak" => Ok(Self::Leak),
            _ => Err(()),
        }
    }
}

impl Fault {
    #[expect(clippy::panic, reason = "to break is what it is for")]
    pub(crate) fn strike(self) {
        match self {
            Self::Panic => panic!("a fault on purpose"),
            Self::Overflow => drop(black_box(overflow(black_box(1)))),
            Self::Exit => crate::sys::exit_at_once(),
            Self::Abort => std::process::abort(),
            // The next two have no effect without a memory checker.
            Self::Overread => drop(black_box(crate::sys::read_too_far())),
            Self::Leak => std::mem::forget(black_box(vec![7_u8; 16])),
        }
    }
}

#[expect(unconditional_recursion, reason = "to overflow the stack is what it is for")]
fn overflow(depth: u64) -> u64 {
    let frame = black_box([depth; 64]);
    overflow(depth + 1) + frame.iter().sum::<u64>()
}

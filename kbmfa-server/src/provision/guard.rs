//! Stops a plan that takes away more than an operator would expect, such as one from an empty or half-read roster.

/// How much one plan may take away from a machine without being asked about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// Number of accounts that may always be taken away.
    pub count: usize,
    /// Share of the accounts that are there, in percent, above which even a smaller number is stopped; only from three
    /// accounts on.
    pub percent: usize,
}

impl Default for Limit {
    fn default() -> Self {
        Self { count: 5, percent: 50 }
    }
}

/// The plan takes away too much.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "{removals} of {present} accounts would lose access; if that is meant, run \
     `kbmfa-server provision run NAME --confirm-removals {removals}`"
)]
pub struct TooMuch {
    /// Accounts that would lose access.
    pub removals: usize,
    /// Accounts that have access.
    pub present: usize,
}

/// Judges a plan that takes away `removals` of `present` accounts. The operator may have confirmed a number; that covers
/// no larger one.
///
/// # Errors
/// [`TooMuch`].
pub fn judge(removals: usize, present: usize, limit: Limit, confirmed: Option<usize>) -> Result<(), TooMuch> {
    let is_large_share = removals >= 3 && removals * 100 > present * limit.percent;
    if (removals <= limit.count && !is_large_share) || confirmed.is_some_and(|number| removals <= number) {
        return Ok(());
    }
    Err(TooMuch { removals, present })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_roster_never_empties_a_machine_of_three_or_more_unasked() {
        for present in 3..200 {
            let all = judge(present, present, Limit::default(), None);
            assert_eq!(all, Err(TooMuch { removals: present, present }));
            assert_eq!(judge(present, present, Limit::default(), Some(present - 1)), all);
            assert_eq!(judge(present, present, Limit::default(), Some(present)), Ok(()));
        }
    }

    #[test]
    fn one_employee_who_leaves_needs_no_confirmation() {
        for present in 1..50 {
            assert_eq!(judge(1, present, Limit::default(), None), Ok(()));
        }
    }
}

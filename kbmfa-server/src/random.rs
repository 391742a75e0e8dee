//! The only source of random values.

/// The system returned no random bytes.
#[derive(Debug, thiserror::Error)]
#[error("the system returned no random bytes: {0}")]
pub struct NoRandomness(getrandom::Error);

/// `N` random bytes in hex.
///
/// # Errors
/// [`NoRandomness`] if the system returns none.
pub fn hex<const N: usize>() -> Result<String, NoRandomness> {
    bytes::<N>().map(|bytes| to_hex(&bytes))
}

/// `N` random bytes.
///
/// # Errors
/// [`NoRandomness`] if the system returns none.
pub fn bytes<const N: usize>() -> Result<[u8; N], NoRandomness> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(NoRandomness)?;
    Ok(bytes)
}

/// Bytes as lower-case hex.
pub fn to_hex(bytes: &[u8]) -> String {
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 0xf]);
    digits.filter_map(|digit| char::from_digit(digit.into(), 16)).collect()
}

/// A random number below `bound`; 0 if `bound` is 0.
///
/// # Errors
/// [`NoRandomness`] if the system returns none.
pub fn below(bound: usize) -> Result<usize, NoRandomness> {
    let mut bytes = [0; size_of::<usize>()];
    getrandom::fill(&mut bytes).map_err(NoRandomness)?;
    Ok(usize::from_ne_bytes(bytes).checked_rem(bound).unwrap_or(0))
}

//! Who calls: the credential in the request's head, as the hash under which the database knows it.

use std::convert::Infallible;
use warp::Filter;

use crate::secret::SecretHash;

/// Longest credential that is even hashed, in bytes.
const CREDENTIAL_BYTES_MAX: usize = 256;

/// The hash of the bearer token; `None` if there is none. Whether it is accepted is decided in the
/// transaction that it is used in.
pub(super) fn credential() -> impl Filter<Extract = (Option<SecretHash>,), Error = Infallible> + Clone + Send
{
    warp::header::optional::<String>("authorization")
        .or_else(|_| async { Ok::<_, Infallible>((None,)) })
        .map(|header: Option<String>| header.as_deref().and_then(bearer).map(SecretHash::of))
}

pub(super) fn bearer(header: &str) -> Option<&str> {
    let (scheme, token) = header.split_once(' ')?;
    let fits = scheme.eq_ignore_ascii_case("bearer") && (1..=CREDENTIAL_BYTES_MAX).contains(&token.len());
    fits.then_some(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_bearer_token_of_sensible_length_is_a_credential() {
        assert_eq!(bearer("Bearer abc"), Some("abc"));
        assert_eq!(bearer("bearer abc"), Some("abc"));
        for header in ["", "abc", "Basic abc", "Bearer ", &format!("Bearer {}", "x".repeat(257))] {
            assert_eq!(bearer(header), None, "{header:?}");
        }
    }
}

//! The old tool's `AUTH_TOKEN`, in `[server]` and in a file.

use kbmfa_proto::caller::SECRET_BYTES_MAX;
use std::fs;
use std::io::Read;
use std::ops::RangeInclusive;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::rules::ranges;
use crate::machines::caller::AuthToken;
use crate::secret::SecretHash;
use crate::settings::Section;

/// Allowed length of the `AUTH_TOKEN`, in bytes. The old tool accepted any length, but a shorter token can be
/// guessed over the network.
const AUTH_TOKEN_BYTES: RangeInclusive<usize> = 16..=SECRET_BYTES_MAX;
/// Maximum number of bytes that are read of the token's file.
const TOKEN_FILE_BYTES_MAX: u64 = 1024;

/// The token that the old tool gave to all of its hosts. A reload reads it again with the rest of the
/// configuration.
pub(super) fn auth_token(server: &Section<'_>, file: Option<&Path>) -> Option<AuthToken> {
    let from = ranges(server, "auth_token_from");
    let Some(path) = file else {
        if !from.is_empty() {
            server.fault("auth_token_from", "it goes with auth_token_file");
        }
        return None;
    };
    if from.is_empty() {
        let why = "name the source ranges of your hosts in auth_token_from: a shared token is accepted only \
                   from there";
        server.fault("auth_token_file", why);
    }
    match read_auth_token(path) {
        Ok(hash) => Some(AuthToken { hash, from }),
        Err(why) => {
            server.fault("auth_token_file", &format!("{}: {why}", path.display()));
            None
        }
    }
}

/// The token in this file.
///
/// # Errors
/// The reason why it cannot be used, as a sentence.
pub fn read_auth_token(path: &Path) -> Result<SecretHash, String> {
    let file = fs::File::open(path).map_err(|error| error.to_string())?;
    let mode = file.metadata().map_err(|error| error.to_string())?.mode();
    if mode & 0o007 != 0 {
        return Err(format!("its mode {:o} lets everybody read it; chmod 640, group kbmfa", mode & 0o7777));
    }
    let mut text = String::new();
    file.take(TOKEN_FILE_BYTES_MAX).read_to_string(&mut text).map_err(|error| error.to_string())?;
    auth_token_hash(text.trim())
}

/// The hash of a token, which is all that the server keeps of it.
///
/// # Errors
/// The reason why it cannot be used, as a sentence.
pub fn auth_token_hash(token: &str) -> Result<SecretHash, String> {
    let fits = AUTH_TOKEN_BYTES.contains(&token.len()) && token.bytes().all(|byte| byte.is_ascii_graphic());
    if !fits {
        let (min, max) = AUTH_TOKEN_BYTES.into_inner();
        return Err(format!("the token must be {min} to {max} visible characters without a blank"));
    }
    Ok(SecretHash::of(token))
}

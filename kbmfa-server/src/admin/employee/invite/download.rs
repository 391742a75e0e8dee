//! The lines with which employees download `kbmfa-enroll` from the server, and check it.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};
use std::fs;
use std::io::{self, Read};
use std::path::Path;

use crate::ca::facts;
use crate::http::downloads::{SIZE_MAX, is_name, open};
use crate::http::{Certificate, Settings};
use crate::random::to_hex;

/// Maximum number of files for which lines are made.
const FILES_MAX: usize = 16;

/// A line for each file, in the order of their names. Empty without a directory.
///
/// # Errors
/// A file cannot be read.
pub(super) fn lines(http: &Settings) -> io::Result<Vec<String>> {
    let Some(directory) = &http.downloads else { return Ok(Vec::new()) };
    let pin = pin(&http.certificate)?;
    let mut names: Vec<String> =
        fs::read_dir(directory)?.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect();
    names.retain(|name| is_name(name));
    names.sort_unstable();
    names.truncate(FILES_MAX);
    names.iter().map(|name| Ok(line(name, &sum_of(directory, name)?, &pin, &http.authority()))).collect()
}

/// curl compares the key of the server's certificate, so it need not know the authority (`-k`).
fn line(name: &str, sum: &str, pin: &str, authority: &str) -> String {
    format!(
        "curl -fk --pinnedpubkey sha256//{pin} -o {name} https://{authority}/enroll/{name} && \
         echo '{sum}  {name}' | sha256sum -c && chmod +x {name}"
    )
}

/// SHA-256 of the public key of the server's certificate, as curl takes it.
fn pin(certificate: &Certificate) -> io::Result<String> {
    let path = match certificate {
        Certificate::Ours(files) => files.certificate(),
        Certificate::Own { cert, .. } => cert.clone(),
    };
    let own = facts::of_pem(&fs::read(&path)?).and_then(|chain| chain.into_iter().next());
    let own = own.ok_or_else(|| io::Error::other(format!("{} holds no certificate", path.display())))?;
    Ok(STANDARD.encode(own.pin.as_bytes()))
}

fn sum_of(directory: &Path, name: &str) -> io::Result<String> {
    let (file, _) = open(directory, name)?;
    let mut whole = Vec::new();
    file.take(SIZE_MAX).read_to_end(&mut whole)?;
    Ok(to_hex(&Sha256::digest(&whole)))
}

//! Writes one certificate as PEM. The TLS library reads PEM, but does not write it.

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const LINE: usize = 64;

/// Writes a certificate (DER) as PEM.
pub(super) fn encode(der: &[u8]) -> String {
    let mut text = String::from("-----BEGIN CERTIFICATE-----\n");
    let base64: Vec<char> = der.chunks(3).flat_map(quad).collect();
    for line in base64.chunks(LINE) {
        text.extend(line);
        text.push('\n');
    }
    text + "-----END CERTIFICATE-----\n"
}

/// Encodes one to three bytes in base64.
fn quad(bytes: &[u8]) -> [char; 4] {
    let byte = |index: usize| u32::from(bytes.get(index).copied().unwrap_or(0));
    let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
    std::array::from_fn(|index| {
        if index > bytes.len() {
            return '=';
        }
        let sextet = bits >> (18 - 6 * index) & 63;
        ALPHABET.get(sextet as usize).map_or('=', |&byte| char::from(byte))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject;

    proptest! {
        #[test]
        fn what_is_written_reads_back(der in prop::collection::vec(any::<u8>(), 1..300)) {
            let pem = encode(&der);
            prop_assert!(pem.lines().all(|line| line.len() <= LINE));
            let read = CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
            prop_assert_eq!(read.as_ref(), der.as_slice());
        }
    }
}

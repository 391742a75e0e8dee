//! Explains TLS failures to people. rustls prints a certificate's dates in seconds since 1970; this prints
//! RFC 3339.

use rustls::pki_types::UnixTime;
use rustls::{CertificateError, Error};

/// What went wrong, with readable dates.
pub(super) fn why(error: &Error) -> String {
    let Error::InvalidCertificate(invalid) = error else { return error.to_string() };
    match invalid {
        CertificateError::ExpiredContext { time, not_after } => {
            format!(
                "the server's certificate expired on {}, and this clock says {}",
                utc(*not_after),
                utc(*time)
            )
        }
        CertificateError::NotValidYetContext { time, not_before } => {
            format!(
                "the server's certificate is valid from {}, and this clock says {}",
                utc(*not_before),
                utc(*time)
            )
        }
        _ => error.to_string(),
    }
}

/// RFC 3339 in UTC. The calendar is Howard Hinnant's `civil_from_days`.
fn utc(time: UnixTime) -> String {
    let seconds = time.as_secs();
    let (days, rest) = (seconds / 86_400 + 719_468, seconds % 86_400);
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let (month, year) = if month < 10 { (month + 3, year) } else { (month - 9, year + 1) };
    let year = year + era * 400;
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", rest / 3600, rest / 60 % 60, rest % 60)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_certificate_that_has_ended_is_told_with_dates_and_not_in_seconds() {
        let at = |seconds| UnixTime::since_unix_epoch(Duration::from_secs(seconds));
        let (time, not_after) = (at(1_700_000_000), at(951_782_400));
        let ended = Error::from(CertificateError::ExpiredContext { time, not_after });
        let told = "the server's certificate expired on 2000-02-29T00:00:00Z, and this clock says 2023-11-14T22:13:20Z";
        assert_eq!(why(&ended), told);
        let early = Error::from(CertificateError::NotValidYetContext { time: not_after, not_before: time });
        let told = "the server's certificate is valid from 2023-11-14T22:13:20Z, and this clock says 2000-02-29T00:00:00Z";
        assert_eq!(why(&early), told);
        assert_eq!(why(&Error::DecryptError), Error::DecryptError.to_string());
    }
}

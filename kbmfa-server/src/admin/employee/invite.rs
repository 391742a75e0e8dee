//! `employee invite`: makes a one-time invite, and prints it once with what its receiver types.

use clap::Args as ClapArgs;
use serde_json::json;
use std::fs;
use std::time::Duration;

use super::super::{Admin, Failure, time_arg};
use crate::ca::facts;
use crate::clock::Time;
use crate::config::Config;
use crate::employees::Email;
use crate::employees::store::Employee;
use crate::enrolment::invite::{LIFETIME_MAX, LIFETIME_MIN, New};
use crate::http::Certificate;
use crate::usecases::invites as usecase;

mod download;
mod send;

/// Whom to invite, and for how long.
#[derive(ClapArgs)]
#[command(
    after_help = "Whoever has the invite can enrol a key as this person, so send it only to them, and never together with
other people. It is shown once; the server keeps only its hash. A new invite ends the person's earlier ones."
)]
pub struct Args {
    /// Their e-mail address.
    email: Email,
    /// How long the invite can be used, such as 8h or 7d; from 1s to 30d.
    #[arg(long, value_name = "LENGTH", default_value = "7d", value_parser = lifetime)]
    expires: Duration,
    /// Send it to the person's Keybase account, end-to-end encrypted, in a message that disappears; do not print it.
    #[arg(long)]
    send: bool,
}

fn lifetime(text: &str) -> Result<Duration, String> {
    let length = time_arg::length(text).ok_or("write a length of time such as 8h or 7d")?;
    let fits = (LIFETIME_MIN..=LIFETIME_MAX).contains(&length);
    fits.then_some(length).ok_or_else(|| "an invite can be used for 1s to 30d".into())
}

/// Runs the verb.
pub(super) fn run(admin: &Admin, args: &Args) -> Result<(), Failure> {
    // Before the invite is made, so that none is made that nobody can use.
    let config = admin.become_owner()?;
    let command = command(&config, &args.email)?;
    let downloads = download::lines(&config.http).map_err(Failure::new)?;
    if args.send {
        return send::run(admin, args, (&command, &downloads));
    }
    let Made { new: New { id, secret }, employee, ends } = make(admin, args)?;
    let invite = format!("{id}.{}", secret.reveal());
    let program = match downloads.as_slice() {
        [] => String::new(),
        lines => format!(
            "\n\nTo download the program, they first type the line for their system:\n{}",
            lines.join("\n")
        ),
    };
    let sentence = format!(
        "invite     {invite}\nexpires    {}\n\nSend both to {} alone. They type this, and give the invite when they are asked for it:\n{command}{program}",
        admin.time(ends.into()),
        employee.email,
    );
    let json = json!({
        "email": employee.email, "id": id, "invite": invite, "expires": super::Moment(ends), "command": command,
        "downloads": downloads,
    });
    admin.tell(&sentence, &json)
}

/// An invite that was just made.
struct Made {
    new: New,
    employee: Employee,
    ends: Time,
}

fn make(admin: &Admin, args: &Args) -> Result<Made, Failure> {
    let new = New::random().map_err(Failure::new)?;
    let (email, hash, expires) = (args.email.clone(), new.secret.hash(), args.expires);
    let id = new.id.clone();
    let (employee, ends) = admin.change("employee.invite", move |tx, _, actor| {
        let ends = tx.now + expires;
        let employee = usecase::make(tx, actor, &email, (&id, &hash), ends)?;
        Ok::<_, crate::usecases::Error>((employee, ends))
    })?;
    Ok(Made { new, employee, ends })
}

/// The command that the invited person types. The invite is not in it: other programs can see arguments.
fn command(config: &Config, email: &Email) -> Result<String, Failure> {
    let http = &config.http;
    if http.names.is_empty() {
        let hint = "add the name by which employees reach this server, as names = [\"kbmfa.example.com\"]";
        return Err(Failure::new("[server] names in server.toml is empty").hint(hint));
    }
    let pin = match &http.certificate {
        Certificate::Ours(files) => {
            let known = files.authorities().map_err(Failure::new)?;
            known.into_iter().find(|known| known.signs).map(|known| known.facts.pin)
        }
        // The program needs an authority in the chain, which is what follows the server's own certificate.
        Certificate::Own { cert, .. } => {
            let pem = fs::read(cert).map_err(|error| Failure::new(format!("{}: {error}", cert.display())))?;
            facts::of_pem(&pem).and_then(|chain| chain.get(1..)?.last().map(|authority| authority.pin))
        }
    };
    let pin = pin.ok_or_else(|| {
        let hint = "`kbmfa-server ca show` lists the authorities; for a certificate of your own, tls_cert must also hold the authority's certificate";
        Failure::new("no certificate authority has signed the server's certificate").hint(hint)
    })?;
    Ok(format!("kbmfa-enroll --server https://{} --pin {pin} --email {}", http.authority(), quoted(email)))
}

/// The address for a shell. Most need no quotes.
fn quoted(email: &Email) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "@.+-_".contains(c);
    if email.as_str().chars().all(plain) {
        email.to_string()
    } else {
        format!("'{}'", email.as_str().replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_cannot_become_another_command() {
        for (email, expected) in [
            ("ann+x@example.com", "ann+x@example.com"),
            ("a;id@x", "'a;id@x'"),
            ("o'neill@x", r"'o'\''neill@x'"),
        ] {
            assert_eq!(quoted(&email.parse().unwrap()), expected);
        }
    }

    #[test]
    fn an_invite_lives_from_a_second_to_thirty_days() {
        for (text, fits) in
            [("1s", true), ("7d", true), ("30d", true), ("0s", false), ("31d", false), ("soon", false)]
        {
            assert_eq!(lifetime(text).is_ok(), fits, "{text}");
        }
    }
}

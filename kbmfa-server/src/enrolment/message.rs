//! The message in a chat that brings an invite to its person. Pure.

use crate::channels::quote;
use crate::clock::Time;
use crate::secret::Secret;

/// The text. It begins with a word, because a chat would read some other texts as commands.
pub fn text(invite: &str, (command, downloads): (&str, &[String]), expires_at: Time) -> Secret {
    let (invite, command) = (quote::code(invite), quote::code(command));
    let lines: Vec<String> = downloads.iter().map(|line| quote::code(line)).collect();
    let program = if lines.is_empty() {
        String::new()
    } else {
        format!("To download the program, first type the line for your system:\n{}\n", lines.join("\n"))
    };
    Secret::new(format!(
        "You are invited to enrol an ssh key. Type this on the computer that you log in from:\n{command}\n\
         It asks for this invite:\n{invite}\n{program}\
         Show the invite to nobody: who has it can log in as you. It can be used once, until {expires_at}. This message \
         then disappears. Earlier invites no longer count, so use the newest one."
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::testing::START;

    #[test]
    fn an_invite_and_its_command_are_quoted_and_the_text_is_no_command() {
        let command = "kbmfa-enroll --email a@here.example";
        let text = |downloads: &[String]| text("id.secret", (command, downloads), Time::from_micros(START));
        let download = "curl -fk https://h/enroll/p && echo 'ab  p' | sha256sum -c && chmod +x p".to_owned();
        let with_download = text(&[download]);
        let line = "To download the program, first type the line for your system:\n`curl -fk https://h/enroll/p && echo 'ab  p' | sha256sum -c && chmod +x p`\n";
        assert!(with_download.reveal().contains(line), "{}", with_download.reveal());
        let text = text(&[]);
        insta::assert_snapshot!(text.reveal(), @r"
        You are invited to enrol an ssh key. Type this on the computer that you log in from:
        `kbmfa-enroll --email a@here.example`
        It asks for this invite:
        `id.secret`
        Show the invite to nobody: who has it can log in as you. It can be used once, until 2026-11-21T12:00:00Z. This message then disappears. Earlier invites no longer count, so use the newest one.
        ");
    }
}

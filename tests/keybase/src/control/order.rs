//! Every order that a test can give the cloud. Each is a verb of `keybase double` and a method of the client.
//! Doc comments are the verbs' help.

use clap::{Subcommand, ValueEnum};
use serde::{Deserialize, Serialize};

use crate::model::team::Role;

/// An order. A conversation is named `acme`, `acme#sudo`, `alice,bob`, or by its id.
#[derive(Clone, Debug, Deserialize, Serialize, Subcommand)]
pub enum Order {
    /// Adds a user, and prints the uid and the paper key
    AddUser {
        /// The user's name
        user: String,
        /// The name for people
        #[arg(long)]
        full_name: Option<String>,
    },
    /// Adds a team or subteam with its #general
    AddTeam {
        /// The team's name, such as acme or acme.ops
        team: String,
        /// The first owner
        owner: String,
    },
    /// Adds a channel, and prints its id
    AddChannel {
        /// The team
        team: String,
        /// The channel's name
        channel: String,
    },
    /// Adds a conversation of some people, and prints its id
    AddPrivate {
        /// Their names, such as alice,bob
        users: String,
    },
    /// Makes somebody a member of a team, or changes what they are there
    SetMember {
        /// The team
        team: String,
        /// The user
        user: String,
        /// The role
        role: Role,
        /// 0 active, 1 reset, 2 deleted
        #[arg(long, default_value_t = 0)]
        status: u8,
        /// Invited, but without keys yet
        #[arg(long)]
        needs_puk: bool,
    },
    /// Takes somebody out of a team
    RemoveMember {
        /// The team
        team: String,
        /// The user
        user: String,
    },
    /// Lets anybody join a team, or no longer
    SetOpen {
        /// The team
        team: String,
        /// true or false
        #[arg(action = clap::ArgAction::Set)]
        open: bool,
    },
    /// Gives a team another name
    RenameTeam {
        /// The team
        team: String,
        /// Its new name
        to: String,
    },
    /// Lets the exploding messages of a conversation explode now
    Explode {
        /// The conversation
        conversation: String,
    },
    /// Gives a channel another name; its id stays
    RenameChannel {
        /// The channel, such as acme#sudo
        conversation: String,
        /// Its new name
        to: String,
    },
    /// Makes a member leave a channel but not the team
    LeaveChannel {
        /// The user
        user: String,
        /// The channel
        conversation: String,
    },
    /// Deletes an account
    DeleteUser {
        /// The user
        user: String,
    },
    /// Resets an account: same name and uid, other keys, out of its teams until added again
    ResetUser {
        /// The user
        user: String,
    },
    /// Prints the id of a conversation
    Conversation {
        /// The conversation
        conversation: String,
    },
    /// Posts a text as somebody, and prints its id; one like +:+1: reacts to the latest message
    Post {
        /// Who
        user: String,
        /// Where
        conversation: String,
        /// What
        text: String,
        /// The message replied to
        #[arg(long)]
        reply_to: Option<u64>,
    },
    /// Reacts as somebody; the same reaction again takes it away
    React {
        /// Who
        user: String,
        /// Where
        conversation: String,
        /// To which message
        message: u64,
        /// How, such as :+1:
        #[arg(allow_hyphen_values = true)]
        reaction: String,
    },
    /// Takes back a reaction that stands
    Unreact {
        /// Who
        user: String,
        /// Where
        conversation: String,
        /// To which message
        message: u64,
        /// Which
        #[arg(allow_hyphen_values = true)]
        reaction: String,
    },
    /// Edits a text as its author
    Edit {
        /// Who
        user: String,
        /// Where
        conversation: String,
        /// Which message
        message: u64,
        /// The new text
        text: String,
    },
    /// Deletes a message, reaction or edit as its author or an admin
    Delete {
        /// Who
        user: String,
        /// Where
        conversation: String,
        /// Which message
        message: u64,
    },
    /// Reacts by itself the moment a message with this text is posted, before the poster hears that it is
    ArmReaction {
        /// Who
        user: String,
        /// What the message contains
        contains: String,
        /// How
        #[arg(allow_hyphen_values = true)]
        reaction: String,
    },
    /// Prints a conversation as its members see it
    View {
        /// The conversation
        conversation: String,
    },
    /// Prints the texts of a conversation as JSON, deleted ones too
    Messages {
        /// The conversation
        conversation: String,
    },
    /// Waits until a text stands that contains this, edits included, and prints its id
    WaitMessage {
        /// The conversation
        conversation: String,
        /// What it contains
        contains: String,
        /// How long
        #[arg(long, default_value_t = 30_000)]
        limit_ms: u64,
    },
    /// Waits until a reaction to a message stands, and prints its id
    WaitReaction {
        /// The conversation
        conversation: String,
        /// The message
        message: u64,
        /// The reaction
        #[arg(allow_hyphen_values = true)]
        reaction: String,
        /// How long
        #[arg(long, default_value_t = 30_000)]
        limit_ms: u64,
    },
    /// Waits until a message is deleted
    WaitGone {
        /// The conversation
        conversation: String,
        /// The message
        message: u64,
        /// How long
        #[arg(long, default_value_t = 30_000)]
        limit_ms: u64,
    },
    /// Waits until exactly so many api-listen are subscribed
    WaitListeners {
        /// How many
        count: usize,
        /// How long
        #[arg(long, default_value_t = 30_000)]
        limit_ms: u64,
    },
    /// Waits until exactly so many services are logged in
    WaitLogins {
        /// How many
        count: usize,
        /// How long
        #[arg(long, default_value_t = 30_000)]
        limit_ms: u64,
    },
    /// Waits until the listeners have written what they were told of a message
    WaitWritten {
        /// The conversation
        conversation: String,
        /// The message, which may be a reaction, an edit or a deletion
        message: u64,
        /// How long
        #[arg(long, default_value_t = 30_000)]
        limit_ms: u64,
    },
    /// Waits until requests of a method have come, since the cloud started
    WaitRequests {
        /// The method
        method: String,
        /// How many
        count: u64,
        /// How long
        #[arg(long, default_value_t = 30_000)]
        limit_ms: u64,
    },
    /// Makes something go wrong
    Fault {
        /// What
        kind: FaultKind,
        /// Only for requests of this method (send), events of this type (text, reaction, edit, delete), logins (login) or
        /// programs (whoami, oneshot, service, `ctl wait`, `ctl stop`, `chat api`, ..), which have to be named
        #[arg(long)]
        only: Option<String>,
        /// How often; without it until cleared
        #[arg(long)]
        times: Option<u32>,
        /// The words of the error, for unknown-error
        #[arg(long)]
        text: Option<String>,
        /// How slow it is, for request-slow, reply-slow and listener-slow
        #[arg(long, default_value_t = 1_000)]
        delay_ms: u64,
    },
    /// Clears all faults, and lets held replies go
    ClearFaults,
    /// Waits until a reply is held
    WaitHeld {
        /// How long
        #[arg(long, default_value_t = 30_000)]
        limit_ms: u64,
    },
    /// Lets held replies go
    Release,
    /// Logs all services out
    LogOut,
    /// Makes all services crash
    Crash,
    /// Prints the services that run
    Services,
    /// Prints what the clients did that they should not
    Complaints,
    /// Prints counts of programs, requests and events
    Stats,
    /// Prints when each event was written by api-listen
    Trace,
}

/// Something that goes wrong.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize, ValueEnum)]
pub enum FaultKind {
    /// The service is cut from its servers. Reads show what it knew, all else fails, events are lost for good
    Offline,
    /// The thing happens after a while
    RequestSlow,
    /// The thing happens, the reply comes after a while
    ReplySlow,
    /// The service hears nothing of what others do, and does not know it: `get` and `read` answer from what it knew, until
    /// something that it posts itself shows it the gap
    StoreStale,
    /// The request is lost and the client hangs
    RequestHangs,
    /// The request is lost and the client dies
    RequestDies,
    /// The thing happens, then the client hangs
    ReplyHangs,
    /// The thing happens, then the client dies
    ReplyDies,
    /// The thing happens, the reply comes when released
    ReplyHeld,
    /// The thing happens, the reply is no JSON
    ReplyGarbage,
    /// The thing happens, the reply bears another id
    ReplyWrongId,
    /// The thing happens, the reply is a line of 60 KB
    ReplyHuge,
    /// The servers refuse for a while
    RateLimited,
    /// An error that nobody has foreseen
    UnknownError,
    /// The service is logged out when the request comes
    LoggedOut,
    /// The service crashes when the request comes, and nothing happens
    ServiceCrash,
    /// The thing happens, then the service crashes, and no reply comes
    ReplyCrash,
    /// A login hangs
    OneshotHangs,
    /// A login fails
    OneshotFails,
    /// A line that is no JSON comes before the event
    ListenerGarbage,
    /// The event comes twice
    ListenerDuplicate,
    /// An error comes instead of the event
    ListenerError,
    /// The event is lost
    ListenerDrop,
    /// The listener dies instead of printing the event
    ListenerDies,
    /// The listener hears nothing from now on
    ListenerDeaf,
    /// The event is a line of 60 KB
    ListenerHuge,
    /// The event, and what comes after it, comes after a while
    ListenerSlow,
}

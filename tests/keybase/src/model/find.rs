//! Finds and creates conversations by the names that clients and tests use.

use super::conversation::{Conversation, Place};
use super::message::Content;
use super::people::Sender;
use super::refusal::{self, Refusal};
use super::{Chat, News, ids};
use std::collections::{BTreeMap, BTreeSet};

/// The channel that every team has.
pub(crate) const GENERAL: &str = "general";

/// Maximum length of a channel's name.
const CHANNEL_NAME_MAX: usize = 20;

/// The name of a conversation.
#[derive(Clone, Debug)]
pub(crate) struct Name {
    pub(crate) place: Place,
    pub(crate) topic_type: String,
}

impl Chat {
    /// Finds the conversation that a test names: `acme`, `acme#sudo`, `alice,bob` or an id.
    pub(crate) fn find(&self, text: &str) -> Result<&Conversation, Refusal> {
        if let Some(found) = self.conversations.get(text) {
            return Ok(found);
        }
        let (name, topic) = text.split_once('#').unwrap_or((text, GENERAL));
        let place = match self.team(name) {
            Ok(team) => Place::Channel { team_id: team.id.clone(), name: topic.to_owned() },
            Err(_) => people(name),
        };
        self.lookup(&Name { place, topic_type: "chat".into() }).ok_or_else(|| refusal::no_conversation(text))
    }

    pub(crate) fn lookup(&self, name: &Name) -> Option<&Conversation> {
        let mut all = self.conversations.values();
        all.find(|found| found.place == name.place && found.topic_type == name.topic_type)
    }

    /// Creates a conversation, with its hidden first message.
    pub(crate) fn create(&mut self, name: Name, creator: &Sender, now_ms: u64) -> Result<String, Refusal> {
        if let Place::Channel { name, .. } = &name.place {
            check_channel_name(name)?;
        }
        let id = ids::conversation(&format!(
            "{} {:?} {:?}",
            self.conversations.len(),
            name.place,
            name.topic_type
        ));
        let conversation = Conversation {
            id: id.clone(),
            place: name.place,
            topic_type: name.topic_type,
            creator: creator.username.clone(),
            created_ms: now_ms,
            messages: Vec::new(),
            left: BTreeSet::new(),
            read_up_to: BTreeMap::new(),
        };
        self.conversations.insert(id.clone(), conversation);
        self.append(&id, creator, None, Content::TlfName, now_ms)?;
        self.news.push(News::Conversation(id.clone()));
        Ok(id)
    }

    /// The name of a conversation's team or people.
    pub(crate) fn tlf_name(&self, conversation: &Conversation) -> String {
        match &conversation.place {
            Place::People(names) => names.join(","),
            Place::Channel { team_id, .. } => {
                self.team_by_id(team_id).map(|team| team.name.clone()).unwrap_or_default()
            }
        }
    }
}

/// The people in a list such as `bob,alice`.
pub(crate) fn people(list: &str) -> Place {
    let names: BTreeSet<String> = list.split(',').map(|name| name.trim().to_ascii_lowercase()).collect();
    Place::People(names.into_iter().collect())
}

pub(crate) fn check_channel_name(name: &str) -> Result<(), Refusal> {
    let is_fine = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if name.is_empty() || name.len() > CHANNEL_NAME_MAX || !name.chars().all(is_fine) {
        return Err(refusal::refuse(format!("invalid channel name: {name}")));
    }
    Ok(())
}

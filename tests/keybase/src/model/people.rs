//! Users and their devices.

use super::ids;

/// The words that paper keys are made of here.
const WORDS: [&str; 16] = [
    "erosion", "drop", "velvet", "humble", "canyon", "modest", "orchard", "ripple", "saddle", "tunnel",
    "umpire", "violin", "walnut", "yonder", "zebra", "amber",
];

/// How many words a paper key has.
const PAPER_KEY_WORDS: usize = 13;

#[derive(Clone, Debug)]
pub(crate) struct User {
    pub(crate) name: String,
    pub(crate) uid: String,
    pub(crate) full_name: String,
    /// Grows when the account is reset.
    pub(crate) eldest_seqno: u64,
    pub(crate) paper_key: String,
    pub(crate) is_deleted: bool,
}

/// Who sends, and from which device.
#[derive(Clone, Debug)]
pub(crate) struct Sender {
    pub(crate) username: String,
    pub(crate) uid: String,
    pub(crate) device_id: String,
    pub(crate) device_name: String,
}

impl User {
    pub(crate) fn new(name: &str, full_name: Option<String>) -> Self {
        Self {
            name: name.to_owned(),
            uid: ids::user(name),
            full_name: full_name.unwrap_or_default(),
            eldest_seqno: 1,
            paper_key: paper_key(name),
            is_deleted: false,
        }
    }

    /// Acting on the laptop.
    pub(crate) fn on_laptop(&self) -> Sender {
        self.on(&format!("{}-laptop", self.name))
    }

    /// Acting by paper key: the device bears its first two words.
    pub(crate) fn on_paper(&self) -> Sender {
        let words: Vec<&str> = self.paper_key.split(' ').take(2).collect();
        self.on(&words.join(" "))
    }

    fn on(&self, device: &str) -> Sender {
        Sender {
            username: self.name.clone(),
            uid: self.uid.clone(),
            device_id: ids::device(&self.name, device),
            device_name: device.to_owned(),
        }
    }
}

/// Words that follow from the name.
fn paper_key(name: &str) -> String {
    let mut words = WORDS;
    words.sort_by_key(|word| ids::fnv(&format!("{name} {word}")));
    words.into_iter().take(PAPER_KEY_WORDS).collect::<Vec<_>>().join(" ")
}

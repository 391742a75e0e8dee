//! Users and their devices.

use super::ids;

/// The words of the model's paper keys.
const WORDS: [&str; 16] = [
    "erosion", "drop", "velvet", "humble", "canyon", "modest", "orchard", "ripple", "saddle", "tunnel",
    "umpire", "violin", "walnut", "yonder", "zebra", "amber",
];

/// Number of words in a paper key.
const PAPER_KEY_WORDS: usize = 13;

#[derive(Clone, Debug)]
pub(crate) struct User {
    pub(crate) name: String,
    pub(crate) uid: String,
    pub(crate) full_name: String,
    /// Increases when the account is reset.
    pub(crate) eldest_seqno: u64,
    pub(crate) paper_key: String,
    pub(crate) is_deleted: bool,
}

/// The author of a message, and the device that signed it.
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

    /// This user as a sender on the laptop.
    pub(crate) fn on_laptop(&self) -> Sender {
        self.on(&format!("{}-laptop", self.name))
    }

    /// This user as a sender with the paper key. The device has the key's first two words as its name.
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

/// A paper key that is derived from the name.
fn paper_key(name: &str) -> String {
    let mut words = WORDS;
    words.sort_by_key(|word| ids::fnv(&format!("{name} {word}")));
    words.into_iter().take(PAPER_KEY_WORDS).collect::<Vec<_>>().join(" ")
}

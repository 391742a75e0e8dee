//! The hash chain: each seal covers its event's canonical bytes and the previous seal, so an event cannot be
//! edited, removed or moved without breaking every seal after it. Pure: no database, no clock.

use sha2::{Digest, Sha256};
use std::fmt;
use std::str::FromStr;

/// The seal of one event: SHA-256 of the seal before it and the event's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seal([u8; 32]);

impl Seal {
    /// The seal before the first event.
    pub const GENESIS: Self = Self([0; 32]);

    /// The seal of an event with these bytes that follows this seal.
    #[must_use]
    pub fn next(&self, body: &[u8]) -> Self {
        Self(Sha256::new().chain_update(self.0).chain_update(body).finalize().into())
    }

    /// The 32 bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Reads a stored seal; `None` unless it has 32 bytes.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// Reads 64 hexadecimal digits, as [`Self`] prints them.
    pub fn from_hex(text: &str) -> Option<Self> {
        let digit = |c: &u8| (*c as char).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        let bytes = text.as_bytes().chunks(2).map(|pair| match pair {
            [high, low] => Some(digit(high)? << 4 | digit(low)?),
            _ => None,
        });
        Self::from_bytes(&bytes.collect::<Option<Vec<u8>>>()?)
    }
}

impl fmt::Display for Seal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&crate::random::to_hex(&self.0))
    }
}

/// The last event of a chain: its number and seal. Whoever keeps a head elsewhere can verify later that the
/// chain still contains that event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// Number of the last event; 0 if there is none.
    pub seq: i64,
    /// Its seal.
    pub seal: Seal,
}

impl Head {
    /// The head of a chain without events.
    pub const EMPTY: Self = Self { seq: 0, seal: Seal::GENESIS };
}

impl fmt::Display for Head {
    /// `SEQ:HEX`, with the first 12 digits of the seal. Every decision that is posted in the chat has it in
    /// this form.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seal = self.seal.to_string();
        write!(f, "{}:{}", self.seq, seal.get(..12).unwrap_or(&seal))
    }
}

/// A head that was kept elsewhere: `SEQ:HEX`, with 12 to 64 digits of the seal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Witness {
    /// Number of the event.
    pub seq: i64,
    seal_prefix: String,
}

impl Witness {
    /// True if this seal matches.
    pub fn matches(&self, seal: &Seal) -> bool {
        seal.to_string().starts_with(&self.seal_prefix)
    }
}

/// A text that is not a [`Witness`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a head: write SEQ:HEX with 12 to 64 lower-case hexadecimal digits, such as 42:0f3a9b7c11de")]
pub struct BadWitness;

impl FromStr for Witness {
    type Err = BadWitness;
    fn from_str(text: &str) -> Result<Self, BadWitness> {
        let (seq, seal) = text.split_once(':').ok_or(BadWitness)?;
        let hex = seal.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if !hex || !(12..=64).contains(&seal.len()) {
            return Err(BadWitness);
        }
        Ok(Self { seq: seq.parse().map_err(|_| BadWitness)?, seal_prefix: seal.to_owned() })
    }
}

/// One event of the chain, as the database or a file has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Its number.
    pub seq: i64,
    /// Its canonical bytes.
    pub body: String,
    /// Whether the searchable columns have the same values as the body.
    pub columns_match: bool,
    /// The seal of the event before, as stored with this event.
    pub prev: Vec<u8>,
    /// Its own seal, as stored.
    pub seal: Vec<u8>,
}

/// Where and how a chain is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("event {seq} {fault}")]
pub struct Broken {
    /// Number of the first event that is wrong.
    pub seq: i64,
    /// What is wrong with it.
    pub fault: Fault,
}

/// What can be wrong with an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Its number does not follow the last one: an event is missing.
    #[error("is missing")]
    Missing,
    /// It names another seal than that of the event before.
    #[error("does not follow the event before it")]
    OutOfPlace,
    /// Its bytes do not match its seal: they were edited.
    #[error("was edited after it was sealed")]
    Edited,
    /// Its searchable columns differ from its bytes.
    #[error("has columns that differ from the sealed event")]
    ColumnsDiffer,
    /// Its number is lower than the chain's first one.
    #[error("has a number that no event can have")]
    Stray,
    /// The chain ends before the event of a given head.
    #[error("is missing: the chain ends before it")]
    CutOff,
    /// It is not the event of a given head.
    #[error("is not the event of the given head")]
    NotTheWitnessed,
    /// It is the event of a given head, but in an archive that was not given.
    #[error("is archived: name the archive that contains it, by --with FILE")]
    Archived,
    /// The checkpoint after it differs from the sealed event about it.
    #[error("was archived, but its checkpoint differs from the sealed one")]
    CheckpointDiffers,
    /// It is in an archive file that was changed.
    #[error("ends an archive file that was changed")]
    FileDiffers,
}

/// Checks one event against the head before it. Returns the new head.
///
/// # Errors
/// [`Broken`] if it is not the unchanged next event.
pub fn follow(head: Head, link: &Link) -> Result<Head, Broken> {
    let broken = |seq, fault| Err(Broken { seq, fault });
    if link.seq != head.seq + 1 {
        return broken(head.seq + 1, Fault::Missing);
    }
    if link.prev != head.seal.as_bytes() {
        return broken(link.seq, Fault::OutOfPlace);
    }
    let seal = head.seal.next(link.body.as_bytes());
    if link.seal != seal.as_bytes() {
        return broken(link.seq, Fault::Edited);
    }
    if !link.columns_match {
        return broken(link.seq, Fault::ColumnsDiffer);
    }
    Ok(Head { seq: link.seq, seal })
}

/// Verifies a chain event by event; it may begin at a checkpoint.
#[derive(Debug, Clone)]
pub struct Walk {
    /// The last verified event.
    pub head: Head,
    start: Head,
    witness: Option<Witness>,
}

impl Walk {
    /// Begins after `start`. With `witness` it must also find that event.
    pub fn from(start: Head, witness: Option<Witness>) -> Self {
        Self { head: start, start, witness }
    }

    /// Continues after `head`, once files were verified up to there.
    #[must_use]
    pub fn at(self, head: Head) -> Self {
        Self { head, ..self }
    }

    /// Verifies the next event.
    ///
    /// # Errors
    /// [`Broken`] if it is not the unchanged next event, or not the event of a given head.
    pub fn follow(&mut self, link: &Link) -> Result<(), Broken> {
        self.head = follow(self.head, link)?;
        self.compare(self.head)
    }

    /// Ends the walk; returns the last event.
    ///
    /// # Errors
    /// [`Broken`] if a given head was not found.
    pub fn finish(self) -> Result<Head, Broken> {
        self.compare(self.start)?;
        let broken = |seq, fault| Err(Broken { seq, fault });
        match &self.witness {
            Some(witness) if witness.seq > self.head.seq => broken(witness.seq, Fault::CutOff),
            Some(witness) if witness.seq < self.start.seq => broken(witness.seq, Fault::Archived),
            _ => Ok(self.head),
        }
    }

    fn compare(&self, head: Head) -> Result<(), Broken> {
        let met = self.witness.as_ref().filter(|witness| witness.seq == head.seq);
        match met {
            Some(witness) if !witness.matches(&head.seal) => {
                Err(Broken { seq: head.seq, fault: Fault::NotTheWitnessed })
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn chain_of(bodies: &[String]) -> Vec<Link> {
        let mut head = Head::EMPTY;
        let links = bodies.iter().map(|body| {
            let seal = head.seal.next(body.as_bytes());
            let prev = head.seal.as_bytes().to_vec();
            head = Head { seq: head.seq + 1, seal };
            Link {
                seq: head.seq,
                body: body.clone(),
                columns_match: true,
                prev,
                seal: seal.as_bytes().to_vec(),
            }
        });
        links.collect()
    }

    fn verify(links: &[Link]) -> Result<Head, Broken> {
        links.iter().try_fold(Head::EMPTY, follow)
    }

    fn bodies() -> impl Strategy<Value = Vec<String>> {
        prop::collection::vec("[a-z]{0,8}", 2..20)
    }

    proptest! {
        #[test]
        fn an_untouched_chain_verifies(bodies in bodies()) {
            let links = chain_of(&bodies);
            prop_assert_eq!(verify(&links).unwrap().seq, i64::try_from(links.len()).unwrap());
        }

        #[test]
        fn an_edited_event_is_the_first_broken_one(bodies in bodies(), at in any::<prop::sample::Index>()) {
            let mut links = chain_of(&bodies);
            let at = at.index(links.len());
            links[at].body.push('!');
            prop_assert_eq!(verify(&links).unwrap_err().seq, links[at].seq);
        }

        #[test]
        fn an_event_edited_and_resealed_breaks_the_next(bodies in bodies(), at in any::<prop::sample::Index>()) {
            let mut links = chain_of(&bodies);
            let at = at.index(links.len() - 1);
            links[at].body.push('!');
            let prev = Seal::from_bytes(&links[at].prev).unwrap();
            links[at].seal = prev.next(links[at].body.as_bytes()).as_bytes().to_vec();
            prop_assert_eq!(verify(&links).unwrap_err(), Broken { seq: links[at + 1].seq, fault: Fault::OutOfPlace });
        }

        #[test]
        fn a_removed_event_is_missed(bodies in bodies(), at in any::<prop::sample::Index>()) {
            let mut links = chain_of(&bodies);
            let at = at.index(links.len() - 1);
            let gone = links.remove(at);
            prop_assert_eq!(verify(&links).unwrap_err(), Broken { seq: gone.seq, fault: Fault::Missing });
        }

        #[test]
        fn two_events_that_changed_places_are_noticed(bodies in bodies(), at in any::<prop::sample::Index>()) {
            let mut links = chain_of(&bodies);
            let at = at.index(links.len() - 1);
            let (first, second) = (links[at].seq, links[at + 1].seq);
            links.swap(at, at + 1);
            (links[at].seq, links[at + 1].seq) = (first, second);
            prop_assert_eq!(verify(&links).unwrap_err().seq, first);
        }
    }

    #[test]
    fn a_seal_reads_back_from_its_digits() {
        let seal = Seal::GENESIS.next(b"x");
        assert_eq!(Seal::from_hex(&seal.to_string()), Some(seal));
        for bad in ["", "0", &"0".repeat(63), &"0".repeat(66), &"g".repeat(64), "é"] {
            assert_eq!(Seal::from_hex(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn a_walk_from_a_checkpoint_finds_the_given_head_or_reports_its_archive() {
        let links = chain_of(&["a".into(), "b".into(), "c".into()]);
        let head = |n: usize| verify(&links[..n]).unwrap();
        let walk = |witness: Head| {
            let witness = witness.to_string().parse().unwrap();
            let mut walk = Walk::from(head(2), Some(witness));
            links[2..].iter().try_for_each(|link| walk.follow(link))?;
            walk.finish()
        };
        assert_eq!(walk(head(3)), Ok(head(3)));
        assert_eq!(walk(head(2)), Ok(head(3)));
        assert_eq!(walk(head(1)), Err(Broken { seq: 1, fault: Fault::Archived }));
        let other = Head { seq: 2, seal: Seal::GENESIS };
        assert_eq!(walk(other), Err(Broken { seq: 2, fault: Fault::NotTheWitnessed }));
        assert_eq!(walk(Head { seq: 4, ..other }), Err(Broken { seq: 4, fault: Fault::CutOff }));
    }

    #[test]
    fn a_witness_reads_back_and_recognises_its_seal() {
        let head = verify(&chain_of(&["a".into(), "b".into()])).unwrap();
        let witness: Witness = head.to_string().parse().unwrap();
        assert!(witness.seq == 2 && witness.matches(&head.seal) && !witness.matches(&Seal::GENESIS));
        for bad in ["", "1", "1:", "1:abc", "x:0123456789ab", "1:0123456789AB"] {
            assert_eq!(bad.parse::<Witness>(), Err(BadWitness), "{bad}");
        }
    }
}

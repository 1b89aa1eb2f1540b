//! Every interleaving of a small world: three parties, two offers, two writes, a clock with three moments and one crash
//! between a request's commit and its acknowledgement, or before its commit, with a retry at any later time.
//!
//! Each step is what a store does in one transaction. All worlds that can be reached are visited, breadth first, and
//! each step must keep these invariants:
//!
//! * **L1** an epoch has one holder.
//! * **L2** epochs never fall in the order of what was written, so the writes of one epoch stand together.
//! * **L3** an offer is accepted at most once.
//! * **L4** whatever was written was written by the holder of its epoch.
//! * **L5** an epoch begins by an acceptance only: of an open offer, in time, by whom it is for, at the head and in the
//!   epoch in which it was offered; and the next number is its number.
//! * **L6** who asks again for what was committed changes nothing, and hears yes while nothing else has happened.
//! * **L7** the holder is never locked out.
//! * **L8** an offer that is accepted or revoked stays so.

use std::collections::{HashSet, VecDeque};

use super::*;

const PARTIES: [&str; 3] = ["ana", "bob", "eve"];
const WRITES_MAX: usize = 2;
const EPOCHS: u64 = 3;
const LAST_MOMENT_S: u64 = 2;

type Check = Result<(), &'static str>;
type Stored = (Lease, [Option<Offer>; 2]);

/// The transitions that are checked: the house's, or ones with a fault put in.
#[derive(Clone, Copy)]
struct Rules {
    write: fn(&Lease, &Write) -> Result<Written, Refused>,
    accept: fn(&Lease, &Offer, &Claim, u64) -> Result<Accepted, Refused>,
    revoke: fn(&Lease, &Offer, &Holder) -> Result<Offer, Refused>,
}

const HOUSE: Rules = Rules { write: Lease::write, accept: Lease::accept, revoke: Lease::revoke };

/// What a party asks for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Ask {
    Write(Write),
    Accept(usize, Claim),
    Revoke(usize, Holder),
}

/// One atomic step of the world.
#[derive(Clone, Debug)]
enum Step {
    /// The clock goes on by one.
    Tick,
    Offer(usize, Terms),
    /// It is committed, and the party hears so.
    Answered(Ask),
    /// It is committed, and the party does not hear of it.
    Unanswered(Ask),
    /// It is not committed, and the party hears nothing either.
    Lost(Ask),
    /// The party asks again for what it did not hear of.
    Again,
}

/// What is stored, what was done so far, and what somebody did not hear of.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct World {
    lease: Lease,
    offers: [Option<Offer>; 2],
    now_s: u64,
    crash: Crash,
    holders: Vec<Holder>,
    written: Vec<(Epoch, Holder)>,
    taken: [u8; 2],
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Crash {
    ToCome,
    /// What was asked, and what it made of the stored world when it was committed.
    Unheard(Ask, Option<Box<Stored>>),
    Over,
}

impl World {
    fn first() -> Self {
        let lease = lease();
        Self {
            holders: vec![lease.holder.clone()],
            lease,
            offers: [None, None],
            now_s: 0,
            crash: Crash::ToCome,
            written: Vec::new(),
            taken: [0; 2],
        }
    }

    fn stored(&self) -> Box<Stored> {
        Box::new((self.lease.clone(), self.offers.clone()))
    }

    /// Everything that anybody could ask for: also in another's name's place, in any epoch, and of any offer.
    fn asks(&self) -> Vec<Ask> {
        let mut asks = Vec::new();
        for (number, by) in PARTIES.into_iter().enumerate() {
            for epoch in (0..EPOCHS).filter(|_| self.written.len() < WRITES_MAX) {
                // A turn's id is the hash of what was said, so each write has its own.
                let head =
                    TurnId([number as u8, epoch as u8, 1 + self.written.len() as u8, 0].repeat(8).try_into().unwrap());
                asks.push(Ask::Write(Write { by: name(by), epoch: Epoch(epoch), seen: self.lease.head, head }));
            }
            for slot in (0..2).filter(|slot| self.offers[*slot].is_some()) {
                asks.extend((1..=2).map(|key| Ask::Accept(slot, Claim { by: name(by), key: [key; 16] })));
                asks.push(Ask::Revoke(slot, name(by)));
            }
        }
        asks
    }

    fn steps(&self) -> Vec<Step> {
        let mut steps = Vec::new();
        if self.now_s < LAST_MOMENT_S {
            steps.push(Step::Tick);
        }
        for slot in (0..2).filter(|slot| self.offers[*slot].is_none()) {
            for by in PARTIES {
                let to = [Some(name("bob")), None][slot].clone();
                let handoff = HandoffId([slot as u8; 16]);
                let (epoch, head, expires_s) = (self.lease.epoch, self.lease.head, 1 + slot as u64);
                steps.push(Step::Offer(slot, Terms { handoff, by: name(by), epoch, head, to, expires_s }));
            }
        }
        for ask in self.asks() {
            if self.crash == Crash::ToCome {
                steps.push(Step::Unanswered(ask.clone()));
                steps.push(Step::Lost(ask.clone()));
            }
            steps.push(Step::Answered(ask));
        }
        if matches!(self.crash, Crash::Unheard(..)) {
            steps.push(Step::Again);
        }
        steps
    }

    /// The world after a step; the same world when the step is refused.
    fn after(&self, step: &Step, rules: Rules) -> Result<Self, &'static str> {
        let mut world = self.clone();
        match step {
            Step::Tick => world.now_s += 1,
            Step::Offer(slot, terms) => world.offers[*slot] = self.lease.offer(terms.clone(), self.now_s).ok(),
            Step::Answered(ask) => {
                world.commit(ask, rules)?;
            }
            Step::Unanswered(ask) => {
                if world.commit(ask, rules)? {
                    world.crash = Crash::Unheard(ask.clone(), Some(world.stored()));
                }
            }
            Step::Lost(ask) => world.crash = Crash::Unheard(ask.clone(), None),
            Step::Again => {
                let Crash::Unheard(ask, committed) = &self.crash else { return Ok(world) };
                let yes = world.commit(ask, rules)?;
                if committed.is_some() && world != *self {
                    return Err("L6");
                }
                if *committed == Some(self.stored()) && !yes {
                    return Err("L6");
                }
                world.crash = Crash::Over;
            }
        }
        Ok(world)
    }

    /// Does in one transaction what is asked for, and notes it; whether the party hears yes.
    fn commit(&mut self, ask: &Ask, rules: Rules) -> Result<bool, &'static str> {
        match ask {
            Ask::Write(write) => {
                let Ok(written) = (rules.write)(&self.lease, write) else { return Ok(false) };
                if !written.again {
                    self.written.push((write.epoch, write.by.clone()));
                }
                self.lease = written.lease;
            }
            Ask::Accept(slot, claim) => {
                let Some(offer) = &self.offers[*slot] else { return Ok(false) };
                let Ok(accepted) = (rules.accept)(&self.lease, offer, claim, self.now_s) else { return Ok(false) };
                if !accepted.again {
                    self.taken[*slot] += 1;
                    let due = offer.state == OfferState::Open
                        && self.now_s < offer.expires_s
                        && offer.to.as_ref().is_none_or(|to| *to == claim.by)
                        && (offer.head, offer.epoch) == (self.lease.head, self.lease.epoch);
                    if self.taken[*slot] > 1 {
                        return Err("L3");
                    }
                    if !due {
                        return Err("L5");
                    }
                    if accepted.lease.epoch.0 as usize == self.holders.len() {
                        self.holders.push(claim.by.clone());
                    }
                }
                self.lease = accepted.lease;
                self.offers[*slot] = Some(accepted.offer);
            }
            Ask::Revoke(slot, by) => {
                let Some(offer) = &self.offers[*slot] else { return Ok(false) };
                let Ok(revoked) = (rules.revoke)(&self.lease, offer, by) else { return Ok(false) };
                self.offers[*slot] = Some(revoked);
            }
        }
        Ok(true)
    }

    /// What must hold of a step.
    fn became(&self, after: &Self, step: &Step) -> Check {
        let accepts = match step {
            Step::Answered(ask) | Step::Unanswered(ask) => matches!(ask, Ask::Accept(..)),
            Step::Again => matches!(self.crash, Crash::Unheard(Ask::Accept(..), _)),
            Step::Tick | Step::Offer(..) | Step::Lost(_) => false,
        };
        let rise = after.lease.epoch.0 - self.lease.epoch.0;
        if rise > u64::from(accepts) {
            return Err("L5");
        }
        for (before, after) in self.offers.iter().zip(&after.offers) {
            let Some(before) = before.as_ref().map(|offer| &offer.state) else { continue };
            if *before != OfferState::Open && after.as_ref().map(|offer| &offer.state) != Some(before) {
                return Err("L8");
            }
        }
        Ok(())
    }

    /// What must hold of every world.
    fn holds(&self, rules: Rules) -> Check {
        if self.holders.get(self.lease.epoch.0 as usize) != Some(&self.lease.holder) {
            return Err("L1");
        }
        if !self.written.is_sorted_by_key(|(epoch, _)| *epoch) {
            return Err("L2");
        }
        if self.written.iter().any(|(epoch, by)| self.holders.get(epoch.0 as usize) != Some(by)) {
            return Err("L4");
        }
        let Lease { holder, epoch, head, .. } = self.lease.clone();
        let next = Write { by: holder, epoch, seen: head, head: turn(99) };
        if (rules.write)(&self.lease, &next).is_err() {
            return Err("L7");
        }
        Ok(())
    }
}

/// How many worlds there are, or the steps that lead to a broken invariant, the shortest way.
fn explore(rules: Rules) -> Result<usize, (&'static str, String)> {
    let mut seen = HashSet::from([World::first()]);
    let mut waiting = VecDeque::from([World::first()]);
    while let Some(world) = waiting.pop_front() {
        for step in world.steps() {
            let told = |broken| (broken, format!("{world:#?}\n{step:?}"));
            let next = world.after(&step, rules).map_err(told)?;
            if next == world {
                continue;
            }
            world.became(&next, &step).map_err(told)?;
            if !seen.contains(&next) {
                next.holds(rules).map_err(told)?;
                seen.insert(next.clone());
                waiting.push_back(next);
            }
        }
    }
    Ok(seen.len())
}

#[test]
fn no_interleaving_of_a_small_world_breaks_an_invariant() {
    let worlds = explore(HOUSE).unwrap_or_else(|(broken, how)| panic!("{broken} does not hold:\n{how}"));
    assert!(worlds > 80_000, "{worlds} worlds: the model has shrunk");
}

/// The house's rules with one fault each, and the invariant that tells.
const FAULTS: &[(&str, Rules, &str)] = &[
    ("a late write of the first holder is let in", Rules { write: without_a_fence, ..HOUSE }, "L2"),
    ("any write of an older epoch is let in", Rules { write: in_any_epoch, ..HOUSE }, "L4"),
    ("anybody writes in the epoch there is", Rules { write: without_a_name, ..HOUSE }, "L4"),
    ("a write told twice is refused", Rules { write: without_memory, ..HOUSE }, "L6"),
    ("an acceptance begins no epoch", Rules { accept: without_an_epoch, ..HOUSE }, "L1"),
    ("an accepted offer is accepted by the next one", Rules { accept: again_and_again, ..HOUSE }, "L3"),
    ("an offer does not expire", Rules { accept: without_a_clock, ..HOUSE }, "L5"),
    ("an offer is for everybody", Rules { accept: for_everybody, ..HOUSE }, "L5"),
    ("an offer outlives a write", Rules { accept: wherever_it_stands, ..HOUSE }, "L5"),
    ("who accepts and asks again is refused", Rules { accept: without_an_answer, ..HOUSE }, "L6"),
    ("an accepted offer is taken back", Rules { revoke: too_late, ..HOUSE }, "L8"),
    ("nobody can write", Rules { write: |lease, _| Err(Refused::Moved { head: lease.head }), ..HOUSE }, "L7"),
];

#[test]
fn the_model_finds_each_fault_that_is_put_in() {
    for (fault, rules, invariant) in FAULTS {
        let found = explore(*rules).map_err(|(broken, _)| broken);
        assert_eq!(found, Err(*invariant), "{fault}");
    }
}

fn without_a_fence(lease: &Lease, write: &Write) -> Result<Written, Refused> {
    if write.by == name(PARTIES[0]) && write.epoch == Epoch(0) {
        in_any_epoch(lease, write)
    } else {
        lease.write(write)
    }
}

fn in_any_epoch(lease: &Lease, write: &Write) -> Result<Written, Refused> {
    let current = Write { epoch: lease.epoch, by: lease.holder.clone(), ..write.clone() };
    if write.epoch < lease.epoch { lease.write(&current) } else { lease.write(write) }
}

fn without_a_name(lease: &Lease, write: &Write) -> Result<Written, Refused> {
    lease.write(&Write { by: lease.holder.clone(), ..write.clone() })
}

fn without_memory(lease: &Lease, write: &Write) -> Result<Written, Refused> {
    lease.write(write).and_then(
        |written| {
            if written.again { Err(Refused::Moved { head: lease.head }) } else { Ok(written) }
        },
    )
}

fn without_an_epoch(lease: &Lease, offer: &Offer, claim: &Claim, now_s: u64) -> Result<Accepted, Refused> {
    let accepted = lease.accept(offer, claim, now_s)?;
    Ok(Accepted { lease: Lease { epoch: lease.epoch, ..accepted.lease }, ..accepted })
}

fn again_and_again(lease: &Lease, offer: &Offer, claim: &Claim, now_s: u64) -> Result<Accepted, Refused> {
    let offer = match &offer.state {
        OfferState::Open | OfferState::Revoked => offer.clone(),
        OfferState::Accepted { .. } => {
            Offer { state: OfferState::Open, epoch: lease.epoch, head: lease.head, ..offer.clone() }
        }
    };
    lease.accept(&offer, claim, now_s)
}

fn without_a_clock(lease: &Lease, offer: &Offer, claim: &Claim, _now_s: u64) -> Result<Accepted, Refused> {
    lease.accept(offer, claim, 0)
}

fn for_everybody(lease: &Lease, offer: &Offer, claim: &Claim, now_s: u64) -> Result<Accepted, Refused> {
    lease.accept(&Offer { to: None, ..offer.clone() }, claim, now_s)
}

fn wherever_it_stands(lease: &Lease, offer: &Offer, claim: &Claim, now_s: u64) -> Result<Accepted, Refused> {
    lease.accept(&Offer { head: lease.head, ..offer.clone() }, claim, now_s)
}

fn without_an_answer(lease: &Lease, offer: &Offer, claim: &Claim, now_s: u64) -> Result<Accepted, Refused> {
    lease.accept(offer, claim, now_s).and_then(|accepted| {
        if accepted.again { Err(Refused::AlreadyAccepted { by: claim.by.clone() }) } else { Ok(accepted) }
    })
}

fn too_late(lease: &Lease, offer: &Offer, by: &Holder) -> Result<Offer, Refused> {
    lease.revoke(&Offer { state: OfferState::Open, ..offer.clone() }, by)
}

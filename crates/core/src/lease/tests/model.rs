//! Every interleaving of a small world: three parties, two offers, two writes, a clock with three moments and one crash
//! between a request's commit and its acknowledgement, or before its commit, with a retry at any later time.
//!
//! A party writes in any epoch that it was ever told of ([`Tenure::admits`]), however long ago: an answer may be under
//! way for hours, and what a process has at hand may be stale.
//!
//! Each step is what a store does in one transaction. All worlds that can be reached are visited, breadth first, and
//! each step must keep these invariants:
//!
//! * **L1** an epoch has one holder.
//! * **L2** epochs never fall in the order of what was written, so the writes of one epoch stand together.
//! * **L3** an offer is used at most once, for the session or for a copy.
//! * **L4** whatever was written was written by the holder of its epoch.
//! * **L5** an epoch begins by an acceptance only: of an open offer, in time, by whom it is for, in the epoch in which it
//!   was offered; it stands at the turn that was offered, and the next number is its number. A copy is made of such an
//!   offer only.
//! * **L6** who asks again for what was committed adds nothing, and hears yes while nothing else has happened.
//! * **L7** the holder is never locked out.
//! * **L8** an offer that is used or revoked stays so.
//! * **L9** a copy, an offer and a revocation leave the lease as it is.

use std::collections::{HashSet, VecDeque};

use super::*;

const PARTIES: [&str; 3] = ["ana", "bob", "eve"];
const WRITES_MAX: usize = 2;
const LAST_MOMENT_S: u64 = 2;

type Check = Result<(), &'static str>;
type Stored = (Lease, [Option<Offer>; 2]);

/// The transitions that are checked: the house's, or ones with a fault put in.
#[derive(Clone, Copy)]
struct Rules {
    admits: fn(&Tenure, &Holder) -> Result<Epoch, Refused>,
    write: fn(&Lease, Epoch, TurnId) -> Result<Lease, Fenced>,
    accept: fn(&Lease, &Offer, &Claim, u64) -> Result<Accepted, Refused>,
    branch: fn(&Lease, &Offer, &Claim, SessionId, u64) -> Result<Branched, Refused>,
    revoke: fn(&Lease, &Offer, &Holder) -> Result<Offer, Refused>,
}

const HOUSE: Rules = Rules {
    admits: Tenure::admits,
    write: Lease::write,
    accept: Lease::accept,
    branch: Lease::branch,
    revoke: Lease::revoke,
};

/// What a party asks for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Ask {
    Write { by: Holder, epoch: Epoch, head: TurnId },
    Accept(usize, Claim),
    Branch(usize, Claim),
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
    /// Which epochs each party was ever told of.
    told: Vec<(Holder, Epoch)>,
    written: Vec<(Epoch, Holder, TurnId)>,
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
    fn first(rules: Rules) -> Self {
        let lease = lease();
        let mut world = Self {
            holders: vec![lease.tenure.holder.clone()],
            lease,
            offers: [None, None],
            now_s: 0,
            crash: Crash::ToCome,
            told: Vec::new(),
            written: Vec::new(),
            taken: [0; 2],
        };
        world.tell(rules);
        world
    }

    /// Everybody asks for the epoch, and whoever is told it keeps it.
    fn tell(&mut self, rules: Rules) {
        for by in PARTIES.map(name) {
            let told = (rules.admits)(&self.lease.tenure, &by).map(|epoch| (by, epoch));
            self.told.extend(told.ok().filter(|told| !self.told.contains(told)));
        }
    }

    fn stored(&self) -> Box<Stored> {
        Box::new((self.lease.clone(), self.offers.clone()))
    }

    /// Everything that anybody could ask for: in any epoch that it was told of, and of any offer.
    fn asks(&self) -> Vec<Ask> {
        let mut asks = Vec::new();
        for (number, by) in PARTIES.map(name).into_iter().enumerate() {
            let told = self.told.iter().filter(|(told, _)| *told == by && self.written.len() < WRITES_MAX);
            for (_, epoch) in told {
                // A turn's id is the hash of what was said, so each write has its own.
                let said = [number as u8, epoch.0 as u8, 1 + self.written.len() as u8, 0];
                let head = TurnId(said.repeat(8).try_into().unwrap());
                asks.push(Ask::Write { by: by.clone(), epoch: *epoch, head });
            }
            for slot in (0..2).filter(|slot| self.offers[*slot].is_some()) {
                asks.extend((1..=2).map(|key| Ask::Accept(slot, Claim { by: by.clone(), key: [key; 16] })));
                asks.push(Ask::Revoke(slot, by.clone()));
            }
            if self.offers[1].is_some() {
                asks.push(Ask::Branch(1, Claim { by, key: [1; 16] }));
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
                let (epoch, head, expires_s) = (self.lease.tenure.epoch, self.lease.head, 1 + slot as u64);
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
                // The head goes back to a turn that is written again; nothing else may be different.
                let is_write = matches!(ask, Ask::Write { .. });
                let head = if is_write { self.lease.head } else { world.lease.head };
                let same = Self { lease: Lease { head, ..world.lease.clone() }, ..world.clone() } == *self;
                if committed.is_some() && !same {
                    return Err("L6");
                }
                if *committed == Some(self.stored()) && !yes {
                    return Err("L6");
                }
                world.crash = Crash::Over;
            }
        }
        world.tell(rules);
        Ok(world)
    }

    /// Does in one transaction what is asked for, and notes it; whether the party hears yes.
    fn commit(&mut self, ask: &Ask, rules: Rules) -> Result<bool, &'static str> {
        match ask {
            Ask::Write { by, epoch, head } => {
                let Ok(lease) = (rules.write)(&self.lease, *epoch, *head) else { return Ok(false) };
                if self.written.iter().all(|(_, _, turn)| turn != head) {
                    self.written.push((*epoch, by.clone(), *head));
                }
                self.lease = lease;
            }
            Ask::Accept(slot, claim) => {
                let Some(offer) = self.offers[*slot].clone() else { return Ok(false) };
                let Ok(accepted) = (rules.accept)(&self.lease, &offer, claim, self.now_s) else { return Ok(false) };
                if !accepted.again {
                    self.take(*slot, &offer, claim)?;
                    if accepted.lease.head != offer.head {
                        return Err("L5");
                    }
                    if accepted.lease.tenure.epoch.0 as usize == self.holders.len() {
                        self.holders.push(claim.by.clone());
                    }
                }
                self.lease = accepted.lease;
                self.offers[*slot] = Some(accepted.offer);
            }
            Ask::Branch(slot, claim) => {
                let Some(offer) = self.offers[*slot].clone() else { return Ok(false) };
                let copy = SessionId("s2".into());
                let Ok(branched) = (rules.branch)(&self.lease, &offer, claim, copy, self.now_s) else {
                    return Ok(false);
                };
                if !branched.again {
                    self.take(*slot, &offer, claim)?;
                }
                self.offers[*slot] = Some(branched.offer);
            }
            Ask::Revoke(slot, by) => {
                let Some(offer) = &self.offers[*slot] else { return Ok(false) };
                let Ok(revoked) = (rules.revoke)(&self.lease, offer, by) else { return Ok(false) };
                self.offers[*slot] = Some(revoked);
            }
        }
        Ok(true)
    }

    /// Notes that an offer is used, which it must be open for.
    fn take(&mut self, slot: usize, offer: &Offer, claim: &Claim) -> Check {
        self.taken[slot] += 1;
        if self.taken[slot] > 1 {
            return Err("L3");
        }
        let due = offer.state == OfferState::Open
            && self.now_s < offer.expires_s
            && offer.to.as_ref().is_none_or(|to| *to == claim.by)
            && offer.epoch == self.lease.tenure.epoch;
        if due { Ok(()) } else { Err("L5") }
    }

    /// What must hold of a step.
    fn became(&self, after: &Self, step: &Step) -> Check {
        let asked = match step {
            Step::Answered(ask) | Step::Unanswered(ask) => Some(ask),
            Step::Again => {
                if let Crash::Unheard(ask, _) = &self.crash {
                    Some(ask)
                } else {
                    None
                }
            }
            Step::Tick | Step::Offer(..) | Step::Lost(_) => None,
        };
        let accepts = matches!(asked, Some(Ask::Accept(..)));
        if after.lease.tenure.epoch.0 - self.lease.tenure.epoch.0 > u64::from(accepts) {
            return Err("L5");
        }
        if after.lease != self.lease && !accepts && !matches!(asked, Some(Ask::Write { .. })) {
            return Err("L9");
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
        let Tenure { epoch, holder } = &self.lease.tenure;
        if self.holders.get(epoch.0 as usize) != Some(holder) {
            return Err("L1");
        }
        if !self.written.is_sorted_by_key(|(epoch, ..)| *epoch) {
            return Err("L2");
        }
        if self.written.iter().any(|(epoch, by, _)| self.holders.get(epoch.0 as usize) != Some(by)) {
            return Err("L4");
        }
        let told = (rules.admits)(&self.lease.tenure, holder);
        if told.is_ok_and(|epoch| (rules.write)(&self.lease, epoch, turn(99)).is_err()) {
            return Err("L7");
        }
        Ok(())
    }
}

/// How many worlds there are, or the steps that lead to a broken invariant, the shortest way.
fn explore(rules: Rules) -> Result<usize, (&'static str, String)> {
    let mut seen = HashSet::from([World::first(rules)]);
    let mut waiting = VecDeque::from([World::first(rules)]);
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
    ("a late write of the first epoch is let in", Rules { write: without_a_fence, ..HOUSE }, "L2"),
    ("everybody is told the epoch", Rules { admits: |tenure, _| Ok(tenure.epoch), ..HOUSE }, "L4"),
    ("a write told twice is refused", Rules { write: without_memory, ..HOUSE }, "L6"),
    ("an acceptance begins no epoch", Rules { accept: without_an_epoch, ..HOUSE }, "L1"),
    ("an accepted offer is accepted by the next one", Rules { accept: again_and_again, ..HOUSE }, "L3"),
    ("an offer does not expire", Rules { accept: without_a_clock, ..HOUSE }, "L5"),
    ("an offer is for everybody", Rules { accept: for_everybody, ..HOUSE }, "L5"),
    ("an offer outlives another acceptance", Rules { accept: in_any_epoch, ..HOUSE }, "L5"),
    ("an epoch begins where the giver stands", Rules { accept: wherever_it_stands, ..HOUSE }, "L5"),
    ("who accepts and asks again is refused", Rules { accept: without_an_answer, ..HOUSE }, "L6"),
    ("an offer is good for a copy each", Rules { branch: copied_again_and_again, ..HOUSE }, "L3"),
    ("a copy is made of what expired", Rules { branch: copied_without_a_clock, ..HOUSE }, "L5"),
    ("a used offer is taken back", Rules { revoke: too_late, ..HOUSE }, "L8"),
    ("nobody can write", Rules { write: nobody, ..HOUSE }, "L7"),
];

#[test]
fn the_model_finds_each_fault_that_is_put_in() {
    for (fault, rules, invariant) in FAULTS {
        let found = explore(*rules).map_err(|(broken, _)| broken);
        assert_eq!(found, Err(*invariant), "{fault}");
    }
}

fn without_a_fence(lease: &Lease, epoch: Epoch, head: TurnId) -> Result<Lease, Fenced> {
    lease.write(if epoch == Epoch(0) { lease.tenure.epoch } else { epoch }, head)
}

fn nobody(lease: &Lease, epoch: Epoch, _head: TurnId) -> Result<Lease, Fenced> {
    Err(Fenced::Over { holder: lease.tenure.holder.clone(), epoch })
}

fn without_memory(lease: &Lease, epoch: Epoch, head: TurnId) -> Result<Lease, Fenced> {
    if head == lease.head { nobody(lease, epoch, head) } else { lease.write(epoch, head) }
}

fn without_an_epoch(lease: &Lease, offer: &Offer, claim: &Claim, now_s: u64) -> Result<Accepted, Refused> {
    let accepted = lease.accept(offer, claim, now_s)?;
    let tenure = Tenure { epoch: lease.tenure.epoch, ..accepted.lease.tenure };
    Ok(Accepted { lease: Lease { tenure, ..accepted.lease }, ..accepted })
}

/// The offer as if nobody had used it.
fn unused(offer: &Offer, epoch: Epoch) -> Offer {
    match &offer.state {
        OfferState::Open | OfferState::Revoked => offer.clone(),
        OfferState::Accepted { .. } | OfferState::Branched { .. } => {
            Offer { state: OfferState::Open, epoch, ..offer.clone() }
        }
    }
}

fn again_and_again(lease: &Lease, offer: &Offer, claim: &Claim, now_s: u64) -> Result<Accepted, Refused> {
    lease.accept(&unused(offer, lease.tenure.epoch), claim, now_s)
}

fn without_a_clock(lease: &Lease, offer: &Offer, claim: &Claim, _now_s: u64) -> Result<Accepted, Refused> {
    lease.accept(offer, claim, 0)
}

fn for_everybody(lease: &Lease, offer: &Offer, claim: &Claim, now_s: u64) -> Result<Accepted, Refused> {
    lease.accept(&Offer { to: None, ..offer.clone() }, claim, now_s)
}

fn in_any_epoch(lease: &Lease, offer: &Offer, claim: &Claim, now_s: u64) -> Result<Accepted, Refused> {
    let epoch = if offer.state == OfferState::Open { lease.tenure.epoch } else { offer.epoch };
    lease.accept(&Offer { epoch, ..offer.clone() }, claim, now_s)
}

fn wherever_it_stands(lease: &Lease, offer: &Offer, claim: &Claim, now_s: u64) -> Result<Accepted, Refused> {
    let accepted = lease.accept(offer, claim, now_s)?;
    Ok(Accepted { lease: Lease { head: lease.head, ..accepted.lease }, ..accepted })
}

fn without_an_answer(lease: &Lease, offer: &Offer, claim: &Claim, now_s: u64) -> Result<Accepted, Refused> {
    lease.accept(offer, claim, now_s).and_then(|accepted| {
        if accepted.again { Err(Refused::AlreadyAccepted { by: claim.by.clone() }) } else { Ok(accepted) }
    })
}

fn copied_again_and_again(
    lease: &Lease,
    offer: &Offer,
    claim: &Claim,
    copy: SessionId,
    now_s: u64,
) -> Result<Branched, Refused> {
    lease.branch(&unused(offer, lease.tenure.epoch), claim, copy, now_s)
}

fn copied_without_a_clock(
    lease: &Lease,
    offer: &Offer,
    claim: &Claim,
    copy: SessionId,
    _now_s: u64,
) -> Result<Branched, Refused> {
    lease.branch(offer, claim, copy, 0)
}

fn too_late(lease: &Lease, offer: &Offer, by: &Holder) -> Result<Offer, Refused> {
    lease.revoke(&Offer { state: OfferState::Open, ..offer.clone() }, by)
}

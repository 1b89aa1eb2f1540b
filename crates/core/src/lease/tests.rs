use proptest::prelude::*;

use super::*;

mod model;

fn name(name: &str) -> Holder {
    Holder(name.into())
}

fn turn(number: u8) -> TurnId {
    TurnId([number; 32])
}

fn lease() -> Lease {
    Lease::new(SessionId("s1".into()), name("ana"), turn(0))
}

fn terms(to: Option<&str>) -> Terms {
    Terms {
        handoff: HandoffId([7; 16]),
        by: name("ana"),
        epoch: Epoch(0),
        head: turn(0),
        to: to.map(name),
        expires_s: 100,
    }
}

fn offer(to: Option<&str>) -> Offer {
    lease().offer(terms(to), 10).unwrap()
}

fn claim(by: &str) -> Claim {
    Claim { by: name(by), key: [1; 16] }
}

fn write(by: &str, epoch: u64, seen: u8, head: u8) -> Write {
    Write { by: name(by), epoch: Epoch(epoch), seen: turn(seen), head: turn(head) }
}

fn accepted() -> Accepted {
    lease().accept(&offer(Some("bob")), &claim("bob"), 50).unwrap()
}

#[test]
fn whoever_accepts_holds_the_next_epoch() {
    let Accepted { lease, offer, again } = accepted();
    assert_eq!((lease.holder.clone(), lease.epoch, lease.head, again), (name("bob"), Epoch(1), turn(0), false));
    assert_eq!(offer.state, OfferState::Accepted { claim: claim("bob"), epoch: Epoch(1) });
    assert_eq!(lease.write(&write("bob", 1, 0, 1)).unwrap().lease.head, turn(1));
}

#[test]
fn a_late_write_of_the_holder_before_is_fenced_off_with_the_name_of_who_holds_it() {
    let refused = accepted().lease.write(&write("ana", 0, 0, 1)).unwrap_err();
    assert_eq!(refused.to_string(), "the session was handed on: `bob` holds it now, in epoch 1");
}

#[test]
fn an_epoch_nobody_was_given_and_a_name_that_is_not_the_holders_write_nothing() {
    let ahead = lease().write(&write("ana", 3, 0, 1)).unwrap_err();
    assert_eq!(ahead, Refused::NotBegun { asked: Epoch(3), epoch: Epoch(0) });
    let stranger = lease().write(&write("bob", 0, 0, 1)).unwrap_err();
    assert_eq!(stranger, Refused::NotHolder { holder: name("ana") });
}

#[test]
fn a_write_over_a_head_that_moved_is_refused_and_a_write_told_twice_is_not() {
    let first = lease().write(&write("ana", 0, 0, 1)).unwrap();
    let twice = first.lease.write(&write("ana", 0, 0, 1)).unwrap();
    assert_eq!(twice, Written { lease: first.lease.clone(), again: true });
    let other = first.lease.write(&write("ana", 0, 0, 2)).unwrap_err();
    assert_eq!(other, Refused::Moved { head: turn(1) });
}

#[test]
fn a_claimant_that_was_not_answered_asks_again_and_another_with_its_name_does_not_get_in() {
    let Accepted { lease, offer, .. } = accepted();
    let again = lease.accept(&offer, &claim("bob"), 60).unwrap();
    assert_eq!(again, Accepted { lease: lease.clone(), offer: offer.clone(), again: true });
    let late = lease.accept(&offer, &claim("bob"), 1_000).unwrap();
    assert!(late.again, "what was accepted in time does not expire");
    let replay = lease.accept(&offer, &Claim { by: name("bob"), key: [2; 16] }, 60).unwrap_err();
    assert_eq!(replay.to_string(), "this handoff was accepted by `bob` and is good once; ask for another");
}

#[test]
fn a_claimant_that_asks_again_after_it_was_overtaken_hears_who_holds_the_session() {
    let Accepted { lease, offer, .. } = accepted();
    let on = Terms { by: name("bob"), epoch: Epoch(1), ..terms(None) };
    let next = lease.offer(on, 60).unwrap();
    let lease = lease.accept(&next, &claim("eve"), 70).unwrap().lease;
    let refused = lease.accept(&offer, &claim("bob"), 80).unwrap_err();
    assert_eq!(refused, Refused::Fenced { holder: name("eve"), epoch: Epoch(2) });
}

#[test]
fn an_offer_is_void_when_the_session_moved_or_was_handed_to_somebody_else() {
    let moved = lease().write(&write("ana", 0, 0, 1)).unwrap().lease;
    let refused = moved.accept(&offer(None), &claim("bob"), 50).unwrap_err();
    assert_eq!(refused, Refused::Moved { head: turn(1) });
    let second = Offer { handoff: HandoffId([8; 16]), ..offer(None) };
    let refused = accepted().lease.accept(&second, &claim("eve"), 50).unwrap_err();
    assert_eq!(refused, Refused::Overtaken { holder: name("bob") });
}

#[test]
fn an_offer_is_for_whom_it_names_until_it_expires() {
    let refused = lease().accept(&offer(Some("bob")), &claim("eve"), 50).unwrap_err();
    assert_eq!(refused, Refused::ForSomebodyElse { to: name("bob") });
    assert!(lease().accept(&offer(None), &claim("eve"), 99).is_ok());
    let refused = lease().accept(&offer(None), &claim("eve"), 100).unwrap_err();
    assert_eq!(refused, Refused::Expired { at_s: 100 });
    assert_eq!(lease().offer(terms(None), 100).unwrap_err(), Refused::Expired { at_s: 100 });
}

#[test]
fn an_offer_is_of_one_session() {
    let other = Lease::new(SessionId("s2".into()), name("ana"), turn(0));
    let refused = other.accept(&offer(None), &claim("bob"), 50).unwrap_err();
    assert_eq!(refused, Refused::OtherSession { session: SessionId("s1".into()) });
    assert!(matches!(other.revoke(&offer(None), &name("ana")), Err(Refused::OtherSession { .. })));
}

#[test]
fn only_the_holder_offers_and_only_the_head() {
    let stranger = Terms { by: name("bob"), ..terms(None) };
    assert!(matches!(lease().offer(stranger, 10), Err(Refused::NotHolder { .. })));
    let behind = Terms { head: turn(9), ..terms(None) };
    assert_eq!(lease().offer(behind, 10), Err(Refused::Moved { head: turn(0) }));
    assert!(matches!(accepted().lease.offer(terms(None), 10), Err(Refused::Fenced { .. })));
}

#[test]
fn the_giver_takes_an_offer_back_until_it_is_accepted() {
    let revoked = lease().revoke(&offer(None), &name("ana")).unwrap();
    assert_eq!(lease().revoke(&revoked, &name("ana")), Ok(revoked.clone()));
    let refused = lease().accept(&revoked, &claim("bob"), 50).unwrap_err();
    assert_eq!(refused.to_string(), "this handoff was revoked by `ana`");
    assert_eq!(lease().revoke(&offer(None), &name("bob")), Err(Refused::NotTheGiver { from: name("ana") }));
    let Accepted { lease, offer, .. } = accepted();
    assert_eq!(lease.revoke(&offer, &name("ana")), Err(Refused::AlreadyAccepted { by: name("bob") }));
}

/// What one of several parties tries, by number.
#[derive(Clone, Copy, Debug)]
enum Try {
    Offer { by: usize, to: Option<usize>, for_s: u64 },
    Accept { by: usize, offer: usize, key: u8 },
    Revoke { by: usize, offer: usize },
    Write { by: usize, epochs_back: u64, fresh: bool },
    Wait { s: u64 },
}

fn attempt() -> impl Strategy<Value = Try> {
    let party = 0..3_usize;
    prop_oneof![
        (party.clone(), proptest::option::of(party.clone()), 0..20_u64).prop_map(|(by, to, for_s)| Try::Offer {
            by,
            to,
            for_s
        }),
        (party.clone(), 0..8_usize, 0..2_u8).prop_map(|(by, offer, key)| Try::Accept { by, offer, key }),
        (party.clone(), 0..8_usize).prop_map(|(by, offer)| Try::Revoke { by, offer }),
        (party, 0..3_u64, any::<bool>()).prop_map(|(by, epochs_back, fresh)| Try::Write { by, epochs_back, fresh }),
        (0..6_u64).prop_map(|s| Try::Wait { s }),
    ]
}

/// What was stored, and what was written in which epoch by whom.
struct Story {
    lease: Lease,
    offers: Vec<Offer>,
    now_s: u64,
    holders: Vec<Holder>,
    written: Vec<(Epoch, Holder)>,
    taken: Vec<HandoffId>,
}

impl Story {
    fn of(names: &[Holder]) -> Self {
        let lease = Lease::new(SessionId("s1".into()), names[0].clone(), turn(0));
        let holders = vec![lease.holder.clone()];
        Self { lease, offers: Vec::new(), now_s: 0, holders, written: Vec::new(), taken: Vec::new() }
    }

    fn goes_on(&mut self, step: Try, names: &[Holder]) {
        match step {
            Try::Wait { s } => self.now_s += s,
            Try::Offer { by, to, for_s } => {
                let terms = Terms {
                    handoff: HandoffId([self.offers.len() as u8; 16]),
                    by: names[by].clone(),
                    epoch: self.lease.epoch,
                    head: self.lease.head,
                    to: to.map(|to| names[to].clone()),
                    expires_s: self.now_s + for_s,
                };
                self.offers.extend(self.lease.offer(terms, self.now_s));
            }
            Try::Accept { by, offer, key } => {
                let Some(offer) = self.offers.get_mut(offer) else { return };
                let claim = Claim { by: names[by].clone(), key: [key; 16] };
                let Ok(accepted) = self.lease.accept(offer, &claim, self.now_s) else { return };
                if accepted.again {
                    assert_eq!((&accepted.lease, &accepted.offer), (&self.lease, &*offer));
                    return;
                }
                self.taken.push(offer.handoff);
                self.holders.push(accepted.lease.holder.clone());
                (self.lease, *offer) = (accepted.lease, accepted.offer);
            }
            Try::Revoke { by, offer } => {
                let Some(offer) = self.offers.get_mut(offer) else { return };
                if let Ok(revoked) = self.lease.revoke(offer, &names[by]) {
                    *offer = revoked;
                }
            }
            Try::Write { by, epochs_back, fresh } => {
                let epoch = Epoch(self.lease.epoch.0.saturating_sub(epochs_back));
                let head = if fresh { turn(self.written.len() as u8 + 1) } else { self.lease.head };
                let write = Write { by: names[by].clone(), epoch, seen: self.lease.head, head };
                let Ok(written) = self.lease.write(&write) else { return };
                assert_eq!(written.again, !fresh);
                if fresh {
                    self.written.push((epoch, write.by));
                }
                self.lease = written.lease;
            }
        }
    }
}

proptest! {
    #[test]
    fn whatever_two_or_three_parties_try_an_epoch_has_one_holder_and_its_writes_stand_together(
        parties in 2..=3_usize,
        steps in proptest::collection::vec(attempt(), 0..80),
    ) {
        let names: Vec<_> = ["ana", "bob", "eve"].map(name).into_iter().take(parties).collect();
        let mut story = Story::of(&names);
        for step in steps {
            let party = |by: usize| by % parties;
            let step = match step {
                Try::Offer { by, to, for_s } => Try::Offer { by: party(by), to: to.map(party), for_s },
                Try::Accept { by, offer, key } => Try::Accept { by: party(by), offer, key },
                Try::Revoke { by, offer } => Try::Revoke { by: party(by), offer },
                Try::Write { by, epochs_back, fresh } => Try::Write { by: party(by), epochs_back, fresh },
                Try::Wait { s } => Try::Wait { s },
            };
            story.goes_on(step, &names);
            prop_assert_eq!(story.lease.epoch.0 as usize + 1, story.holders.len());
            prop_assert_eq!(Some(&story.lease.holder), story.holders.last());
        }
        prop_assert!(story.written.is_sorted_by_key(|(epoch, _)| *epoch), "{:?}", story.written);
        for (epoch, by) in &story.written {
            prop_assert_eq!(by, &story.holders[epoch.0 as usize]);
        }
        let mut taken = story.taken.clone();
        taken.sort();
        taken.dedup();
        prop_assert_eq!(taken.len(), story.taken.len(), "an offer was accepted twice");
    }
}

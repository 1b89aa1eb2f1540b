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

fn tenure(holder: &str, epoch: u64) -> Tenure {
    Tenure { epoch: Epoch(epoch), holder: name(holder) }
}

fn accepted() -> Accepted {
    lease().accept(&offer(Some("bob")), &claim("bob"), 50).unwrap()
}

#[test]
fn whoever_accepts_holds_the_next_epoch() {
    let Accepted { lease, offer, again } = accepted();
    assert_eq!((lease.tenure.clone(), lease.head, again), (tenure("bob", 1), turn(0), false));
    assert_eq!(offer.state, OfferState::Accepted { claim: claim("bob"), epoch: Epoch(1) });
    assert_eq!(lease.tenure.admits(&name("bob")), Ok(Epoch(1)));
    assert_eq!(lease.write(Epoch(1), turn(1)).unwrap().head, turn(1));
}

#[test]
fn a_late_write_of_the_holder_before_is_fenced_off_with_the_name_of_who_holds_it() {
    let refused = accepted().lease.write(Epoch(0), turn(1)).unwrap_err();
    assert_eq!(refused.to_string(), "the session was handed on: `bob` holds it now, in epoch 1");
}

#[test]
fn an_epoch_nobody_was_given_and_a_name_that_is_not_the_holders_write_nothing() {
    let ahead = lease().write(Epoch(3), turn(1)).unwrap_err();
    assert_eq!(ahead, Fenced::NotBegun { asked: Epoch(3), epoch: Epoch(0) });
    let stranger = lease().tenure.admits(&name("bob")).unwrap_err();
    assert_eq!(stranger.to_string(), "`ana` holds this session; ask there for a handoff");
}

#[test]
fn whoever_accepts_begins_where_it_was_offered_though_the_giver_has_gone_on() {
    let moved = lease().write(Epoch(0), turn(1)).unwrap();
    let Accepted { lease, .. } = moved.accept(&offer(None), &claim("bob"), 50).unwrap();
    assert_eq!((lease.head, lease.tenure), (turn(0), tenure("bob", 1)));
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
    assert_eq!(refused, Refused::Fenced(Fenced::Over { holder: name("eve"), epoch: Epoch(2) }));
}

#[test]
fn an_offer_is_void_when_the_session_was_handed_to_somebody_else() {
    let second = Offer { handoff: HandoffId([8; 16]), ..offer(None) };
    let refused = accepted().lease.accept(&second, &claim("eve"), 50).unwrap_err();
    assert_eq!(refused, Refused::Overtaken { holder: name("bob") });
}

#[test]
fn a_copy_uses_the_offer_up_and_leaves_the_session_where_it_is() {
    let copy = || SessionId("s2".into());
    let branched = lease().branch(&offer(None), &claim("bob"), copy(), 50).unwrap();
    assert_eq!((&branched.session, branched.again), (&copy(), false));
    let again = lease().branch(&branched.offer, &claim("bob"), SessionId("s3".into()), 1_000).unwrap();
    assert_eq!(again, Branched { again: true, ..branched.clone() }, "the first copy is told again");
    let used = Refused::AlreadyAccepted { by: name("bob") };
    assert_eq!(lease().branch(&branched.offer, &claim("eve"), copy(), 50), Err(used.clone()));
    assert_eq!(lease().accept(&branched.offer, &claim("bob"), 50), Err(used.clone()));
    assert_eq!(lease().read(&branched.offer, &name("bob"), 50), Err(used.clone()));
    assert_eq!(lease().revoke(&branched.offer, &name("ana")), Err(used));
}

#[test]
fn reading_uses_nothing_up_and_ends_with_the_offer() {
    let offer = offer(Some("bob"));
    for _ in 0..2 {
        assert_eq!(lease().read(&offer, &name("bob"), 99), Ok(()));
    }
    assert_eq!(lease().read(&offer, &name("eve"), 50), Err(Refused::ForSomebodyElse { to: name("bob") }));
    assert_eq!(lease().read(&offer, &name("bob"), 100), Err(Refused::Expired { at_s: 100 }));
    let overtaken = accepted().lease.read(&offer, &name("bob"), 50);
    assert_eq!(overtaken, Err(Refused::Overtaken { holder: name("bob") }));
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
    assert!(matches!(other.read(&offer(None), &name("bob"), 50), Err(Refused::OtherSession { .. })));
}

#[test]
fn only_the_holder_offers() {
    let stranger = Terms { by: name("bob"), ..terms(None) };
    assert!(matches!(lease().offer(stranger, 10), Err(Refused::NotHolder { .. })));
    assert!(matches!(accepted().lease.offer(terms(None), 10), Err(Refused::Fenced(_))));
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
    Offer {
        by: usize,
        to: Option<usize>,
        for_s: u64,
    },
    Accept {
        by: usize,
        offer: usize,
        key: u8,
    },
    Branch {
        by: usize,
        offer: usize,
        key: u8,
    },
    Revoke {
        by: usize,
        offer: usize,
    },
    /// Writes what was begun when the session had been handed on so much less often.
    Write {
        by: usize,
        epochs_back: usize,
    },
    Wait {
        s: u64,
    },
}

fn attempt() -> impl Strategy<Value = Try> {
    let party = 0..3_usize;
    let claim = || (0..3_usize, 0..8_usize, 0..2_u8);
    prop_oneof![
        (party.clone(), proptest::option::of(party.clone()), 0..20_u64).prop_map(|(by, to, for_s)| Try::Offer {
            by,
            to,
            for_s
        }),
        claim().prop_map(|(by, offer, key)| Try::Accept { by, offer, key }),
        claim().prop_map(|(by, offer, key)| Try::Branch { by, offer, key }),
        (party.clone(), 0..8_usize).prop_map(|(by, offer)| Try::Revoke { by, offer }),
        (party, 0..3_usize).prop_map(|(by, epochs_back)| Try::Write { by, epochs_back }),
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
        let holders = vec![lease.tenure.holder.clone()];
        Self { lease, offers: Vec::new(), now_s: 0, holders, written: Vec::new(), taken: Vec::new() }
    }

    fn goes_on(&mut self, step: Try, names: &[Holder]) {
        match step {
            Try::Wait { s } => self.now_s += s,
            Try::Offer { by, to, for_s } => {
                let terms = Terms {
                    handoff: HandoffId([self.offers.len() as u8; 16]),
                    by: names[by].clone(),
                    epoch: self.lease.tenure.epoch,
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
                assert_eq!(accepted.lease.head, offer.head);
                self.taken.push(offer.handoff);
                self.holders.push(accepted.lease.tenure.holder.clone());
                (self.lease, *offer) = (accepted.lease, accepted.offer);
            }
            Try::Branch { by, offer, key } => {
                let Some(offer) = self.offers.get_mut(offer) else { return };
                let claim = Claim { by: names[by].clone(), key: [key; 16] };
                let copy = SessionId("s2".into());
                let Ok(branched) = self.lease.branch(offer, &claim, copy, self.now_s) else { return };
                if !branched.again {
                    self.taken.push(offer.handoff);
                }
                *offer = branched.offer;
            }
            Try::Revoke { by, offer } => {
                let Some(offer) = self.offers.get_mut(offer) else { return };
                if let Ok(revoked) = self.lease.revoke(offer, &names[by]) {
                    *offer = revoked;
                }
            }
            Try::Write { by, epochs_back } => {
                // Only who held it then was told of that epoch.
                let then = self.holders.len().saturating_sub(1 + epochs_back);
                let tenure = Tenure { epoch: Epoch(then as u64), holder: self.holders[then].clone() };
                let Ok(epoch) = tenure.admits(&names[by]) else { return };
                let Ok(lease) = self.lease.write(epoch, turn(self.written.len() as u8 + 1)) else { return };
                self.written.push((epoch, names[by].clone()));
                self.lease = lease;
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
                Try::Branch { by, offer, key } => Try::Branch { by: party(by), offer, key },
                Try::Revoke { by, offer } => Try::Revoke { by: party(by), offer },
                Try::Write { by, epochs_back } => Try::Write { by: party(by), epochs_back },
                Try::Wait { s } => Try::Wait { s },
            };
            story.goes_on(step, &names);
            prop_assert_eq!(story.lease.tenure.epoch.0 as usize + 1, story.holders.len());
            prop_assert_eq!(Some(&story.lease.tenure.holder), story.holders.last());
        }
        prop_assert!(story.written.is_sorted_by_key(|(epoch, _)| *epoch), "{:?}", story.written);
        for (epoch, by) in &story.written {
            prop_assert_eq!(by, &story.holders[epoch.0 as usize]);
        }
        let mut taken = story.taken.clone();
        taken.sort();
        taken.dedup();
        prop_assert_eq!(taken.len(), story.taken.len(), "an offer was used twice");
    }
}

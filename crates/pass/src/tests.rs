use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use biscuit_auth::builder::AuthorizerBuilder;
use biscuit_auth::{Algorithm, AuthorizerLimits, Biscuit, BlockBuilder, KeyPair, UnverifiedBiscuit};
use commonwatt_core::lease::{HandoffId, Holder};
use commonwatt_core::turn::{Epoch, SessionId, TurnId};
use proptest::prelude::*;

use super::*;

mod cost;
mod hostile;

const NOW_S: u64 = 1_800_000_000;
const LATER_S: u64 = NOW_S + 3_600;

fn keys() -> Keys {
    Keys::from_seed(Seed([1; 32]))
}

fn seed(number: u8) -> Seed {
    Seed([100 + number; 32])
}

fn holder(name: &str) -> Holder {
    Holder(name.into())
}

fn grant() -> Grant {
    Grant {
        handoff: HandoffId([2; 16]),
        session: SessionId("0199a5f0-7c5e-7000-8000-000000000001".into()),
        head: TurnId([3; 32]),
        epoch: Epoch(4),
        issuer: "node.example".into(),
        scopes: Scopes::ALL,
        audience: None,
        expires_s: LATER_S,
        spend_micros: None,
    }
}

fn minted(grant: &Grant) -> String {
    mint(&keys(), grant, seed(0)).unwrap().text().to_owned()
}

fn narrowed(text: &str, narrowing: &Narrowing) -> String {
    narrow(text, narrowing, seed(1)).unwrap().text().to_owned()
}

fn asked(scope: Scope) -> Asked {
    Asked { now_s: NOW_S, audience: None, scope }
}

fn by(name: &str) -> Asked {
    Asked { audience: Some(holder(name)), ..asked(Scope::Read) }
}

fn opened(text: &str, asked: &Asked) -> Result<Opened, Refused> {
    open(&keys().public(), text, asked)
}

#[test]
fn a_minted_handoff_opens_with_what_was_granted() {
    let full = Grant { audience: Some(holder("bob \"the builder\" ✓")), spend_micros: Some(5_000_000), ..grant() };
    let said = opened(&minted(&full), &by("bob \"the builder\" ✓")).unwrap();
    assert_eq!(said.revocation_ids.len(), 1);
    let Opened { handoff, session, head, epoch, issuer, scopes, spend_micros, expires_s, revocation_ids: _ } = said;
    let again = Grant {
        handoff,
        session,
        head,
        epoch,
        issuer,
        scopes,
        audience: full.audience.clone(),
        expires_s,
        spend_micros,
    };
    assert_eq!(again, full);
}

#[test]
fn a_holder_narrows_without_a_key_and_the_strictest_limit_of_each_kind_holds() {
    let text = minted(&Grant { spend_micros: Some(900), ..grant() });
    let first = Narrowing {
        audience: Some(holder("bob")),
        scopes: Some(Scopes::of(&[Scope::Read, Scope::Continue])),
        expires_s: Some(NOW_S + 60),
        spend_micros: Some(500),
    };
    let more = Narrowing { expires_s: Some(NOW_S + 9_999), spend_micros: Some(700), ..Narrowing::default() };
    let said = opened(&narrowed(&narrowed(&text, &first), &more), &by("bob")).unwrap();
    assert_eq!(said.scopes, Scopes::of(&[Scope::Read, Scope::Continue]));
    assert_eq!((said.expires_s, said.spend_micros), (NOW_S + 60, Some(500)));
    assert_eq!(said.revocation_ids.len(), 3);
    assert_eq!(said.revocation_ids[0], opened(&text, &by("bob")).unwrap().revocation_ids[0]);
}

#[test]
fn a_handoff_for_one_holder_is_nobody_elses() {
    let text = minted(&Grant { audience: Some(holder("bob")), ..grant() });
    assert!(opened(&text, &by("bob")).is_ok());
    assert_eq!(opened(&text, &by("eve")), Err(Refused::WrongAudience));
    assert_eq!(opened(&text, &asked(Scope::Read)), Err(Refused::WrongAudience));
    let for_eve = narrowed(&text, &Narrowing { audience: Some(holder("eve")), ..Narrowing::default() });
    assert_eq!(opened(&for_eve, &by("eve")), Err(Refused::WrongAudience));
    assert_eq!(opened(&for_eve, &by("bob")), Err(Refused::WrongAudience));
}

#[test]
fn a_handoff_expires_to_the_second() {
    let at = |now_s| opened(&minted(&grant()), &Asked { now_s, ..asked(Scope::Read) });
    assert!(at(LATER_S - 1).is_ok());
    assert_eq!(at(LATER_S), Err(Refused::Expired { at_s: LATER_S }));
}

#[test]
fn a_scope_that_was_not_granted_or_was_taken_away_is_missing() {
    let text = minted(&Grant { scopes: Scopes::of(&[Scope::Read, Scope::Branch]), ..grant() });
    assert_eq!(opened(&text, &asked(Scope::Continue)), Err(Refused::ScopeMissing { scope: Scope::Continue }));
    let rest = Narrowing { scopes: Some(Scopes::of(&[Scope::Branch, Scope::Continue])), ..Narrowing::default() };
    let text = narrowed(&text, &rest);
    assert_eq!(opened(&text, &asked(Scope::Branch)).unwrap().scopes, Scopes::of(&[Scope::Branch]));
    let refused = opened(&text, &asked(Scope::Continue)).unwrap_err();
    assert_eq!(refused.to_string(), "this handoff does not allow to continue");
}

#[test]
fn another_nodes_key_opens_nothing() {
    let other = Keys::from_seed(Seed([9; 32])).public();
    assert_eq!(open(&other, &minted(&grant()), &asked(Scope::Read)), Err(Refused::ForeignIssuer));
}

#[test]
fn a_sealed_handoff_opens_and_is_not_narrowed() {
    let sealed = seal(&minted(&grant())).unwrap();
    assert!(opened(sealed.text(), &asked(Scope::Read)).is_ok());
    assert_eq!(narrow(sealed.text(), &Narrowing::default(), seed(1)), Err(NotMade::Sealed));
    assert_eq!(seal(sealed.text()), Err(NotMade::Sealed));
}

#[test]
fn a_handoff_is_narrowed_so_often_and_no_more() {
    let mut text = minted(&grant());
    for _ in 0..NARROWINGS_MAX {
        text = narrowed(&text, &Narrowing::default());
    }
    assert!(opened(&text, &asked(Scope::Read)).is_ok());
    assert_eq!(narrow(&text, &Narrowing::default(), seed(1)), Err(NotMade::TooOften));
}

#[test]
fn what_the_format_cannot_hold_is_not_minted() {
    let mint = |grant: Grant| mint(&keys(), &grant, seed(0)).unwrap_err();
    assert_eq!(mint(Grant { epoch: Epoch(u64::MAX), ..grant() }), NotMade::TooLarge);
    assert_eq!(mint(Grant { spend_micros: Some(u64::MAX), ..grant() }), NotMade::TooLarge);
    assert_eq!(mint(Grant { scopes: Scopes::default(), ..grant() }), NotMade::NoScopes);
    assert_eq!(mint(Grant { issuer: "".into(), ..grant() }), NotMade::BadName { of: "issuer" });
    assert_eq!(mint(Grant { session: SessionId("a\nb".into()), ..grant() }), NotMade::BadName { of: "session" });
    let long = holder(&"n".repeat(NAME_BYTES_MAX + 1));
    assert_eq!(mint(Grant { audience: Some(long), ..grant() }), NotMade::BadName { of: "audience" });
}

#[test]
fn text_that_is_no_token_is_neither_opened_nor_narrowed() {
    let genuine = minted(&grant());
    let padded = format!("{genuine}=");
    for text in ["", "cwh_", "cwh_AAAA", "hello", "cwh_%%%", genuine.trim_start_matches("cwh_"), padded.as_str()] {
        assert_eq!(opened(text, &asked(Scope::Read)), Err(Refused::Malformed), "{text}");
        assert_eq!(narrow(text, &Narrowing::default(), seed(1)), Err(NotMade::Malformed), "{text}");
    }
    assert_eq!(opened(&"c".repeat(TEXT_MAX + 1), &asked(Scope::Read)), Err(Refused::TooLong));
}

#[test]
fn the_same_seeds_give_the_same_token_and_other_seeds_another() {
    assert_eq!(minted(&grant()), minted(&grant()));
    assert_ne!(minted(&grant()), mint(&keys(), &grant(), seed(9)).unwrap().text());
    assert_eq!(keys().public(), keys().public().to_string().parse().unwrap());
}

#[test]
fn neither_keys_nor_seeds_nor_tokens_are_shown_by_accident() {
    let pass = mint(&keys(), &grant(), seed(0)).unwrap();
    let shown = format!("{pass:?} {:?} {:?}", keys(), seed(0));
    assert!(!shown.contains(&pass.text()[..12]), "{shown}");
    assert!(!shown.contains("0101") && !shown.contains("100"), "{shown}");
}

fn names() -> impl Strategy<Value = Option<Holder>> {
    proptest::option::weighted(0.3, prop_oneof![Just("bob"), Just("eve")].prop_map(holder))
}

fn scopes() -> impl Strategy<Value = Scopes> {
    proptest::sample::subsequence(Scope::ALL.to_vec(), 1..=3).prop_map(Scopes::from_iter)
}

fn narrowings() -> impl Strategy<Value = Narrowing> {
    let times = proptest::option::of(NOW_S - 2..NOW_S + 5);
    let sums = proptest::option::of(0..1_000_u64);
    (names(), proptest::option::of(scopes()), times, sums)
        .prop_map(|(audience, scopes, expires_s, spend_micros)| Narrowing { audience, scopes, expires_s, spend_micros })
}

/// What Biscuit alone says of a token, without our reading of it.
fn biscuits_verdict(text: &str, asked: &Asked) -> bool {
    let bytes = URL_SAFE_NO_PAD.decode(&text[4..]).unwrap();
    let token = Biscuit::from(bytes, keys().public().0).unwrap();
    let audience = asked.audience.as_ref().map(|name| format!("audience(\"{name}\");")).unwrap_or_default();
    let (scope, now_s) = (asked.scope.word(), asked.now_s);
    let time = biscuit_auth::builder::Fact::new("time".into(), vec![biscuit_auth::builder::Term::Date(now_s)]);
    let code = format!("operation(\"{scope}\"); spent(0); {audience} allow if true;");
    let limits = AuthorizerLimits { max_time: std::time::Duration::from_secs(5), ..AuthorizerLimits::default() };
    let authorizer = AuthorizerBuilder::new().fact(time).unwrap().code(code).unwrap().set_limits(limits);
    authorizer.build(&token).unwrap().authorize().is_ok()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn narrowings_give_exactly_what_all_of_them_allow(
        granted in scopes(),
        narrowings in proptest::collection::vec(narrowings(), 0..5),
        audience in names(),
        scope in proptest::sample::select(Scope::ALL.to_vec()),
    ) {
        let mut text = minted(&Grant { scopes: granted, ..grant() });
        for narrowing in &narrowings {
            text = narrowed(&text, narrowing);
        }
        let asked = Asked { now_s: NOW_S, audience, scope };
        let said = opened(&text, &asked);

        let expires_s = narrowings.iter().filter_map(|n| n.expires_s).chain([LATER_S]).min().unwrap();
        let in_all = |scope: &Scope| granted.contains(*scope)
            && narrowings.iter().all(|n| n.scopes.is_none_or(|scopes| scopes.contains(*scope)));
        let for_asker = narrowings.iter().all(|n| n.audience.is_none() || n.audience == asked.audience);
        let allowed = NOW_S < expires_s && in_all(&scope) && for_asker;
        prop_assert_eq!(said.is_ok(), allowed, "{:?}", said);
        prop_assert_eq!(biscuits_verdict(&text, &asked), allowed);
        if let Ok(said) = said {
            prop_assert_eq!(said.scopes, Scope::ALL.into_iter().filter(in_all).collect());
            prop_assert_eq!(said.expires_s, expires_s);
            prop_assert_eq!(said.spend_micros, narrowings.iter().filter_map(|n| n.spend_micros).min());
            prop_assert_eq!(said.revocation_ids.len(), 1 + narrowings.len());
        }
    }
}

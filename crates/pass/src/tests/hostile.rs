//! Holders that want more than they were given, and know the library as well as we do.

use super::*;

fn bytes(text: &str) -> Vec<u8> {
    URL_SAFE_NO_PAD.decode(&text[4..]).unwrap()
}

fn text(bytes: Vec<u8>) -> String {
    format!("cwh_{}", URL_SAFE_NO_PAD.encode(bytes))
}

fn for_reading() -> String {
    minted(&Grant { scopes: Scopes::of(&[Scope::Read]), audience: Some(holder("bob")), ..grant() })
}

/// A token with one block more, in Biscuit's own words.
fn with_block(token: &str, datalog: &str) -> String {
    let token = UnverifiedBiscuit::from(bytes(token)).unwrap();
    let block = BlockBuilder::new().code(datalog).unwrap();
    text(token.append(block).unwrap().to_vec().unwrap())
}

/// A token with one block more, of any bytes, rightly signed.
fn with_raw_block(token: &str, block: Vec<u8>) -> String {
    let token = Biscuit::from(bytes(token), keys().public().0).unwrap();
    let longer = token.container().append_serialized(&KeyPair::new(), block, None).unwrap();
    text(longer.to_vec().unwrap())
}

#[test]
fn no_byte_of_a_handoff_can_be_changed() {
    let genuine = bytes(&narrowed(&for_reading(), &Narrowing { spend_micros: Some(5), ..Narrowing::default() }));
    assert!(opened(&text(genuine.clone()), &by("bob")).is_ok());
    for position in 0..genuine.len() {
        let mut changed = genuine.clone();
        changed[position] ^= 1 << (position % 8);
        assert!(opened(&text(changed), &by("bob")).is_err(), "byte {position}");
    }
    for length in 0..genuine.len() {
        assert!(opened(&text(genuine[..length].to_vec()), &by("bob")).is_err(), "cut at {length}");
    }
}

#[test]
fn what_is_not_signed_cannot_be_added_to_make_another_text_of_one_token() {
    // Field 15, which the format does not have, and a key's hint (field 1).
    for more in [[0x78, 1], [0x08, 1]] {
        let mut longer = bytes(&for_reading());
        longer.extend(more);
        assert_eq!(opened(&text(longer), &by("bob")), Err(Refused::Malformed));
    }
}

#[test]
fn a_block_that_says_anything_but_a_limit_is_refused() {
    for datalog in [
        "operation(\"continue\");",
        "audience(\"eve\");",
        "session(\"another\");",
        "commonwatt_handoff(1, hex:02020202020202020202020202020202);",
        "operation(\"continue\") <- session($session);",
        "audience($who) <- issuer($who);",
        "check if true;",
        "check if operation(\"read\") or true;",
        "check if operation(\"read\") or audience(\"eve\");",
        "check if operation(\"read\"), audience(\"eve\");",
        "check if operation(\"fly\");",
        "check if operation($any);",
        "check if audience($any);",
        "check all operation(\"read\");",
        "reject if operation(\"read\");",
        "check if operation(\"read\") trusting authority;",
        "check if time($time), $time > 2020-01-01T00:00:00Z;",
        "check if time($time), 2020-01-01T00:00:00Z < $time;",
        "check if time($time), $time < 9;",
        "check if spent($spent), $spent <= -1;",
        "check if spent($spent), $spent < 5;",
        "check if spent(5);",
    ] {
        let widened = with_block(&for_reading(), datalog);
        for asked in [by("bob"), by("eve"), Asked { scope: Scope::Continue, ..by("bob") }] {
            assert_eq!(opened(&widened, &asked), Err(Refused::Widened { narrowing: 1 }), "{datalog}");
        }
    }
}

#[test]
fn a_limit_written_by_hand_with_any_biscuit_library_is_a_narrowing() {
    let text = with_block(
        &minted(&grant()),
        "check if operation(\"read\") or operation(\"branch\"); check if audience(\"bob\"); \
         check if time($t), $t < 2027-01-15T09:00:00Z; check if spent($s), $s <= 7;",
    );
    let said = opened(&text, &by("bob")).unwrap();
    assert_eq!(said.scopes, Scopes::of(&[Scope::Read, Scope::Branch]));
    assert_eq!((said.expires_s, said.spend_micros), (1_800_003_600, Some(7)));
    assert_eq!(opened(&text, &by("eve")), Err(Refused::WrongAudience));
}

#[test]
fn a_block_with_a_comment_an_annotation_or_another_kind_of_key_is_refused() {
    let token = || UnverifiedBiscuit::from(bytes(&for_reading())).unwrap();
    let block = || BlockBuilder::new().code("check if operation(\"read\");").unwrap();
    let commented = token().append(block().context("hello".into())).unwrap().to_vec().unwrap();
    assert_eq!(opened(&text(commented), &by("bob")), Err(Refused::Widened { narrowing: 1 }));
    let trusting = token().append(block().scope(biscuit_auth::builder::Scope::Previous)).unwrap().to_vec().unwrap();
    assert_eq!(opened(&text(trusting), &by("bob")), Err(Refused::Widened { narrowing: 1 }));
    let p256 = KeyPair::new_with_algorithm(Algorithm::Secp256r1);
    let of_p256 = token().append_with_keypair(&p256, block()).unwrap().to_vec().unwrap();
    assert_eq!(opened(&text(of_p256), &by("bob")), Err(Refused::Widened { narrowing: 1 }));
}

#[test]
fn a_block_signed_by_a_third_party_is_refused() {
    let token = UnverifiedBiscuit::from(bytes(&for_reading())).unwrap();
    let request = token.third_party_request().unwrap();
    let block = BlockBuilder::new().code("operation(\"continue\");").unwrap();
    let signed = request.create_block(&KeyPair::new().private(), block).unwrap().serialize().unwrap();
    let token = token.append_third_party(&signed).unwrap().to_vec().unwrap();
    assert_eq!(opened(&text(token), &by("bob")), Err(Refused::Widened { narrowing: 1 }));
}

#[test]
fn a_genuine_token_that_is_no_handoff_is_refused() {
    for datalog in [
        "user(\"bob\");",
        "commonwatt_handoff(2, hex:02020202020202020202020202020202); session(\"s\"); head(hex:00); epoch(1); issuer(\"n\");",
        "session(\"s\"); operation(\"continue\");",
    ] {
        let token = Biscuit::builder().code(datalog).unwrap().build(keys().pair()).unwrap();
        assert_eq!(opened(&text(token.to_vec().unwrap()), &by("bob")), Err(Refused::OtherKind), "{datalog}");
    }
}

#[test]
fn a_chain_of_too_many_blocks_is_refused() {
    let mut token = UnverifiedBiscuit::from(bytes(&minted(&grant()))).unwrap();
    for _ in 0..=NARROWINGS_MAX {
        token = token.append(BlockBuilder::new()).unwrap();
    }
    assert_eq!(opened(&text(token.to_vec().unwrap()), &asked(Scope::Read)), Err(Refused::TooOften));
}

#[test]
fn a_block_cut_out_of_the_middle_breaks_the_chain() {
    let strict = Narrowing { scopes: Some(Scopes::of(&[Scope::Read])), ..Narrowing::default() };
    let twice = narrow(&narrowed(&minted(&grant()), &strict), &Narrowing::default(), seed(2)).unwrap();
    let token = Biscuit::from(bytes(twice.text()), keys().public().0).unwrap();
    let mut cut = token.container().clone();
    cut.blocks.remove(0);
    assert_eq!(opened(&text(cut.to_vec().unwrap()), &asked(Scope::Continue)), Err(Refused::ForeignIssuer));
}

#[test]
fn datalog_that_would_run_for_ever_is_not_run() {
    let facts: String = (0..300).map(|n| format!("f({n});")).collect();
    let product = "g($a, $b, $c, $d, $e, $f) <- f($a), f($b), f($c), f($d), f($e), f($f);";
    let bomb = with_block(&minted(&grant()), &format!("{facts}{product}"));
    assert_eq!(opened(&bomb, &asked(Scope::Read)), Err(Refused::Widened { narrowing: 1 }));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_text_makes_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400), any in ".{0,80}") {
        prop_assert!(opened(&text(bytes.clone()), &asked(Scope::Read)).is_err());
        prop_assert!(opened(&any, &asked(Scope::Read)).is_err());
        prop_assert!(narrow(&text(bytes), &Narrowing::default(), seed(1)).is_err());
        prop_assert!(seal(&any).is_err());
    }

    #[test]
    fn no_rightly_signed_block_makes_it_panic_or_allows_more(
        noise in proptest::collection::vec((any::<u16>(), any::<u8>()), 0..6),
        cut in proptest::option::of(any::<u16>()),
        datalog in proptest::sample::select(vec![
            "check if operation(\"read\"); check if audience(\"bob\"); check if time($t), $t < 2027-01-15T09:00:00Z;",
            "operation(\"continue\"); operation($x) <- audience($x), $x == \"a\" || [1, 2].any($y -> $y > 1);",
            "check all spent($s), {1, 2}.contains($s), !($s < 3), \"a\".matches(\"b*\"); reject if x(null, {\"k\": 1});",
        ]),
    ) {
        let plain = with_block(&for_reading(), datalog);
        let mut block = Biscuit::from(bytes(&plain), keys().public().0).unwrap().container().to_proto().blocks[0].block.clone();
        for (position, byte) in noise {
            let position = usize::from(position) % block.len();
            block[position] = byte;
        }
        block.truncate(cut.map_or(block.len(), |cut| usize::from(cut) % block.len()));
        let token = with_raw_block(&for_reading(), block);
        let for_more = Asked { scope: Scope::Continue, ..by("bob") };
        prop_assert!(opened(&token, &for_more).is_err());
        prop_assert!(opened(&token, &by("eve")).is_err());
        let _ = opened(&token, &by("bob"));
        let _ = narrow(&token, &Narrowing::default(), seed(1));
    }
}

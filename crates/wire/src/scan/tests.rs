use proptest::prelude::*;
use serde_json::value::RawValue;

use super::*;

struct Nobody;

impl Sink for Nobody {
    fn open(&mut self, _: Container, _: usize) {}
    fn close(&mut self, _: usize) {}
    fn key(&mut self, _: Range<usize>, _: bool) {}
    fn scalar(&mut self, _: Scalar, _: Range<usize>) {}
}

fn accepts(text: &[u8]) -> bool {
    scan::<true>(text, &mut Nobody).is_ok()
}

fn serde_accepts(text: &[u8]) -> bool {
    serde_json::from_slice::<&RawValue>(text).is_ok()
}

#[track_caller]
fn check(text: &[u8]) {
    assert_eq!(accepts(text), serde_accepts(text), "{:?}", String::from_utf8_lossy(text));
}

#[test]
fn what_serde_json_accepts_is_accepted_and_nothing_else() {
    let texts: [&[u8]; 46] = [
        b"{}",
        b"[]",
        b"\"\"",
        b"0",
        b"-0",
        b"-",
        b"01",
        b"1.",
        b"1.5",
        b"1e5",
        b"1e",
        b"1E+5",
        b"1e-",
        b".5",
        b"+1",
        b"true",
        b"tru",
        b"nulll",
        b"null ",
        b" [ 1 , 2 ] ",
        b"[1,]",
        b"[,1]",
        b"[1 2]",
        b"{\"a\":1}",
        b"{\"a\" 1}",
        b"{\"a\":}",
        b"{a:1}",
        b"{\"a\":1,}",
        b"{\"a\":1 \"b\":2}",
        b"[1}",
        b"{\"a\":1]",
        b"",
        b" ",
        b"\"a\nb\"",
        b"\"a\\nb\"",
        b"\"\\x\"",
        b"\"\\u12g4\"",
        b"\"\\ud800\"",
        b"\"\\u0000\"",
        b"\"\xff\"",
        b"\"\xc3\xa9\"",
        b"\"a",
        b"\"\\",
        b"\x0b1",
        b"1 2",
        b"\xef\xbb\xbf1",
    ];
    texts.iter().for_each(|text| check(text));
}

#[test]
fn nesting_ends_where_serde_json_ends_it() {
    for depth in [1, 126, 127, 128, 129, 4_000] {
        let text = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        let serde = serde_json::from_str::<serde_json::Value>(&text).is_ok();
        assert_eq!(accepts(text.as_bytes()), serde, "depth {depth}");
    }
}

#[test]
fn an_error_says_where_it_is() {
    let text = b"{\n  \"a\": 1,\n  \"b\": oops\n}";
    let error = scan::<true>(text, &mut Nobody).expect_err("not JSON");
    assert_eq!(error.told(text), "a value is expected at line 3, column 8 (byte 19)");
    let cut = scan::<true>(b"{\"a\": [1, 2", &mut Nobody).expect_err("cut off");
    assert_eq!(cut.told(b"{\"a\": [1, 2"), "the text ends too early at line 1, column 12 (byte 11)");
}

fn json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(serde_json::Value::from),
        any::<i64>().prop_map(serde_json::Value::from),
        any::<f64>().prop_map(serde_json::Value::from),
        ".*".prop_map(serde_json::Value::from),
        "[a-z\"\\\\\n\u{80}-\u{20ff}]{0,90}".prop_map(serde_json::Value::from),
    ];
    leaf.prop_recursive(5, 40, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(serde_json::Value::from),
            prop::collection::vec((".{0,40}", inner), 0..6).prop_map(|members| members.into_iter().collect()),
        ]
    })
}

proptest! {
    #[test]
    fn valid_json_is_accepted(value in json(), pretty in any::<bool>()) {
        let text = if pretty { serde_json::to_vec_pretty(&value) } else { serde_json::to_vec(&value) }.expect("text");
        prop_assert!(accepts(&text));
    }

    #[test]
    fn spoilt_json_is_judged_as_serde_json_judges_it(value in json(), at in any::<prop::sample::Index>(), byte in any::<u8>(), what in 0..3) {
        let mut text = serde_json::to_vec(&value).expect("text");
        let at = at.index(text.len());
        match what {
            0 => text[at] = byte,
            1 => text.insert(at, byte),
            _ => text.truncate(at),
        }
        prop_assert_eq!(accepts(&text), serde_accepts(&text), "{:?}", String::from_utf8_lossy(&text));
    }

    #[test]
    fn noise_is_judged_as_serde_json_judges_it(text in "[\\[\\]{}:,\"\\\\0-9eE.+ntrufalse -]{0,24}") {
        prop_assert_eq!(accepts(text.as_bytes()), serde_accepts(text.as_bytes()));
    }

    #[test]
    fn a_plain_run_ends_at_the_first_special_byte(text in prop::collection::vec(prop_oneof![20 => 0x20_u8..0xff, 1 => any::<u8>()], 0..200)) {
        let end = text.iter().position(|&byte| byte == b'"' || byte == b'\\' || byte < 0x20).unwrap_or(text.len());
        let foreign = text[..end].iter().any(|byte| !byte.is_ascii());
        let found = plain_run(&text);
        // A block is looked at whole, so it may be said to hold what only the rest of it holds.
        prop_assert_eq!(found.0, end);
        prop_assert_eq!(found.1, foreign);
    }
}

use proptest::prelude::*;

use super::*;

/// Name, data and raw bytes.
type Copied = (Option<Vec<u8>>, Vec<u8>, Vec<u8>);

/// What each event holds, the chunks being cut at these places.
fn events(stream: &[u8], cuts: &[usize]) -> Vec<Copied> {
    let mut framer = Framer::default();
    let (mut found, mut start) = (Vec::new(), 0);
    let mut take = |framer: &mut Framer, last: bool| {
        while let Some(event) = framer.next().or_else(|| if last { framer.finish() } else { None }) {
            found.push((event.name().map(<[u8]>::to_vec), event.data().to_vec(), event.raw.to_vec()));
        }
    };
    for &cut in cuts.iter().chain([&stream.len()]) {
        framer.push(Bytes::copy_from_slice(&stream[start..cut])).expect("small");
        start = cut;
        take(&mut framer, false);
    }
    take(&mut framer, true);
    found
}

fn simple(stream: &str) -> Vec<(String, String)> {
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    events(stream.as_bytes(), &[])
        .into_iter()
        .map(|(name, data, _)| (text(name.unwrap_or_default()), text(data)))
        .collect()
}

#[test]
fn lines_end_in_every_way_they_may() {
    let expected = [("a".to_owned(), "1".to_owned()), (String::new(), "2".to_owned())];
    for end in ["\n", "\r\n", "\r"] {
        let stream = format!("event: a{end}data: 1{end}{end}data:2{end}{end}");
        assert_eq!(simple(&stream), expected, "{end:?}");
    }
}

#[test]
fn data_of_several_lines_is_joined_and_comments_come_out_empty() {
    assert_eq!(simple("data: a\ndata\ndata:  b\n\n"), [(String::new(), "a\n\n b".to_owned())]);
    assert_eq!(simple(": waiting\n\ndata: x\n\n"), [(String::new(), String::new()), (String::new(), "x".to_owned())]);
    assert_eq!(simple("id: 7\nretry: 5\nother\ndata: x\n\n"), [(String::new(), "x".to_owned())]);
}

#[test]
fn a_byte_order_mark_is_no_part_of_the_first_line() {
    assert_eq!(simple("\u{feff}data: x\n\n"), [(String::new(), "x".to_owned())]);
}

#[test]
fn a_last_event_without_its_blank_line_is_there_for_who_asks() {
    let mut framer = Framer::default();
    framer.push(Bytes::from_static(b"data: 1\n\ndata: [DONE]\n")).expect("small");
    assert_eq!(framer.next().expect("complete").data(), b"1");
    assert!(framer.next().is_none());
    assert!(framer.has_partial());
    assert_eq!(framer.finish().expect("left over").data(), b"[DONE]");
    assert!(!framer.has_partial());
}

#[test]
fn an_event_in_one_chunk_is_not_copied() {
    let chunk = Bytes::from_static(b"data: hello\n\ndata: you\n\n");
    let mut framer = Framer::default();
    framer.push(chunk.clone()).expect("small");
    assert!(std::ptr::eq(framer.next().expect("complete").raw.as_ptr(), chunk.as_ptr()));
}

#[test]
fn an_event_without_end_is_given_up_at_the_limit() {
    let mut framer = Framer::default();
    let mebibyte = Bytes::from(vec![b'x'; 1 << 20]);
    let pushed = (0..40).map(|_| {
        let pushed = framer.push(mebibyte.clone());
        assert!(framer.next().is_none());
        pushed
    });
    assert_eq!(pushed.filter(Result::is_err).count(), 40 - 17);
}

proptest! {
    #[test]
    fn any_split_gives_the_same_events(
        stream in "(\u{feff})?((data|event|: c|id)?(: ?)?[a-zé ]{0,3}(\n|\r\n|\r){1,3}){0,8}[a-z]{0,2}",
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
    ) {
        let stream = stream.as_bytes();
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
        cuts.sort_unstable();
        let whole = events(stream, &[]);
        prop_assert_eq!(&whole, &events(stream, &cuts));
        let each: Vec<usize> = (0..stream.len()).collect();
        prop_assert_eq!(&whole, &events(stream, &each));
        let mut raw: Vec<u8> = whole.iter().flat_map(|(_, _, raw)| raw.clone()).collect();
        prop_assert!(stream.starts_with(&raw), "bytes come out in order");
        raw = stream[raw.len()..].to_vec();
        prop_assert!(raw.iter().all(|byte| b"\r\n".contains(byte)), "only blank lines may stay behind");
    }

    #[test]
    fn noise_never_panics(stream in prop::collection::vec(any::<u8>(), 0..300)) {
        events(&stream, &[stream.len() / 2]);
    }
}

#[test]
fn lines_of_json_come_out_however_they_are_split() {
    let text = b"{\"a\":1}\r\n\n{\"b\":2}\n{\"c\"";
    for size in 1..text.len() {
        let (mut framer, mut found, mut raw) = (Framer::new(Framing::Lines), Vec::new(), Vec::new());
        for chunk in text.chunks(size) {
            framer.push(Bytes::copy_from_slice(chunk)).unwrap();
            while let Some(event) = framer.next() {
                raw.extend_from_slice(&event.raw);
                found.push(String::from_utf8(event.data().to_vec()).unwrap());
            }
        }
        let rest = framer.finish().unwrap();
        raw.extend_from_slice(&rest.raw);
        found.push(String::from_utf8(rest.data().to_vec()).unwrap());
        assert_eq!(found, ["{\"a\":1}", "", "{\"b\":2}", "{\"c\""], "in pieces of {size}");
        assert_eq!(raw, text);
    }
}

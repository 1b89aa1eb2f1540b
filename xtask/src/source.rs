//! One Rust file, as far as the rules look at it: its names, its functions and its tests, each with its line.
//!
//! It reads tokens, not syntax trees, so comments and strings do not count, macros do, and no parser has to be kept up
//! with the language.

use std::str::FromStr;

use proc_macro2::{Delimiter, Group, TokenStream, TokenTree};

/// A function, from the line of `fn` to the line of its closing brace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Function {
    /// Its name.
    pub name: String,
    /// The line of the word `fn`, from 1.
    pub line: usize,
    /// How many lines it has.
    pub lines: usize,
    /// Whether a test runner calls it.
    pub is_test: bool,
}

/// What the rules want to know of a file.
#[derive(Debug, Default)]
pub struct Source {
    /// Names, `::` and opening braces outside test code, in their order, each with its line.
    pub names: Vec<(String, usize)>,
    /// Functions outside test code.
    pub functions: Vec<Function>,
    /// Functions in test code.
    pub test_functions: Vec<Function>,
    /// The line on which the module of tests begins.
    pub tests_from: Option<usize>,
}

impl Source {
    /// Reads a file; none when it is not Rust (the compiler will have more to say about that).
    #[must_use]
    pub fn read(path: &str, text: &str) -> Option<Self> {
        let tokens = TokenStream::from_str(text).ok()?;
        let mut source = Self::default();
        source.walk(tokens, is_test_file(path));
        Some(source)
    }

    /// The line on which a path such as `["std", "env"]` is named; `use std::{env, fs}` names it too.
    #[must_use]
    pub fn line_of(&self, path: &[&str]) -> Option<usize> {
        let (last, roots) = path.split_last()?;
        (0..self.names.len()).find_map(|at| {
            let mut next = at;
            for root in roots {
                next = self.skip(next, root).and_then(|after| self.skip(after, "::"))?;
            }
            if let Some(inside) = self.skip(next, "{") {
                return self.listed(inside, last);
            }
            self.skip(next, last).and(self.names.get(next)).map(|(_, line)| *line)
        })
    }

    fn skip(&self, at: usize, name: &str) -> Option<usize> {
        self.names.get(at).filter(|(found, _)| found == name).map(|_| at + 1)
    }

    /// The line of `name` in the braces that were opened just before `at`, not in braces within them.
    fn listed(&self, at: usize, name: &str) -> Option<usize> {
        let mut depth = 0_usize;
        let mut previous = "{";
        for (found, line) in self.names.get(at..)? {
            match found.as_str() {
                "{" => depth += 1,
                "}" if depth == 0 => return None,
                "}" => depth -= 1,
                found if found == name && depth == 0 && previous != "::" => return Some(*line),
                _ => {}
            }
            previous = found;
        }
        None
    }

    fn walk(&mut self, tokens: TokenStream, in_tests: bool) {
        let mut tokens = tokens.into_iter().peekable();
        let mut marked = Attributes::default();
        while let Some(token) = tokens.next() {
            let hidden = in_tests || marked.cfg_test;
            let line = token.span().start().line;
            match token {
                TokenTree::Punct(punct) if punct.as_char() == '#' => {
                    if let Some(TokenTree::Group(group)) = tokens.next_if(|next| matches!(next, TokenTree::Group(_))) {
                        marked.note(&group, line);
                        self.group(&group, in_tests || marked.cfg_test);
                    }
                }
                // Not `fn(u8)`, which is a type.
                TokenTree::Ident(ident) if ident == "fn" && matches!(tokens.peek(), Some(TokenTree::Ident(_))) => {
                    let name = tokens.peek().map(ToString::to_string).unwrap_or_default();
                    if let Some(body) = self.signature(&mut tokens, hidden) {
                        let lines = body.span_close().end().line + 1 - line;
                        let function = Function { name, line, lines, is_test: marked.test };
                        let hidden = hidden || marked.test;
                        if hidden { &mut self.test_functions } else { &mut self.functions }.push(function);
                        self.group(&body, hidden);
                    }
                    marked = Attributes::default();
                }
                TokenTree::Ident(ident) => {
                    if ident == "mod" && marked.cfg_test && self.tests_from.is_none() {
                        self.tests_from = Some(marked.line);
                    }
                    self.name(&ident.to_string(), line, hidden);
                }
                TokenTree::Group(group) => {
                    self.group(&group, hidden);
                    if group.delimiter() == Delimiter::Brace {
                        marked = Attributes::default();
                    }
                }
                TokenTree::Punct(punct) => {
                    self.colons(&punct, hidden);
                    if punct.as_char() == ';' {
                        marked = Attributes::default();
                    }
                }
                TokenTree::Literal(_) => {}
            }
        }
    }

    /// What stands between `fn` and its body; gives the body, if it has one.
    fn signature(&mut self, tokens: &mut impl Iterator<Item = TokenTree>, in_tests: bool) -> Option<Group> {
        for token in tokens {
            match token {
                TokenTree::Group(group) if group.delimiter() == Delimiter::Brace => return Some(group),
                TokenTree::Group(group) => self.group(&group, in_tests),
                TokenTree::Ident(ident) => self.name(&ident.to_string(), ident.span().start().line, in_tests),
                TokenTree::Punct(punct) if punct.as_char() == ';' => return None,
                TokenTree::Punct(punct) => self.colons(&punct, in_tests),
                TokenTree::Literal(_) => {}
            }
        }
        None
    }

    fn group(&mut self, group: &Group, in_tests: bool) {
        let braces = group.delimiter() == Delimiter::Brace;
        if braces {
            self.name("{", group.span_open().start().line, in_tests);
        }
        self.walk(group.stream(), in_tests);
        if braces {
            self.name("}", group.span_close().start().line, in_tests);
        }
    }

    fn colons(&mut self, punct: &proc_macro2::Punct, in_tests: bool) {
        // `::` comes as two: the first is joined to the second.
        if punct.as_char() == ':' && punct.spacing() == proc_macro2::Spacing::Joint {
            self.name("::", punct.span().start().line, in_tests);
        }
    }

    fn name(&mut self, name: &str, line: usize, in_tests: bool) {
        if !in_tests {
            self.names.push((name.to_owned(), line));
        }
    }
}

/// What the attributes before an item say.
#[derive(Debug, Default)]
struct Attributes {
    cfg_test: bool,
    test: bool,
    line: usize,
}

impl Attributes {
    /// `#[cfg(test)]`, or a last word `test` as in `#[test]`, `#[tokio::test(start_paused = true)]`.
    fn note(&mut self, attribute: &Group, line: usize) {
        let words: Vec<_> = attribute.stream().into_iter().collect();
        let is = |at: usize, word: &str| matches!(words.get(at), Some(TokenTree::Ident(ident)) if ident == word);
        let cfg_test = is(0, "cfg")
            && matches!(words.get(1), Some(TokenTree::Group(inner)) if inner.stream().to_string() == "test");
        if cfg_test {
            self.cfg_test = true;
            self.line = line;
        }
        let last = words.iter().rposition(|word| matches!(word, TokenTree::Ident(_)));
        self.test |= last.is_some_and(|at| is(at, "test"));
    }
}

/// Files in which everything is test code.
#[must_use]
pub fn is_test_file(path: &str) -> bool {
    path.ends_with("/tests.rs") || path.contains("/tests/") || path.contains("/benches/")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Source {
        Source::read("crates/x/src/lib.rs", text).unwrap()
    }

    #[test]
    fn a_path_is_found_however_it_is_written() {
        assert_eq!(read("fn f() {\n std::env::var(\"A\") }").line_of(&["std", "env"]), Some(2));
        assert_eq!(read("use std::{\n fs,\n env,\n};").line_of(&["std", "env"]), Some(3));
        assert_eq!(read("use std::{fs::{self, env}, io};").line_of(&["std", "env"]), None);
        assert_eq!(read("use my::std_env; // std::env").line_of(&["std", "env"]), None);
        assert_eq!(read("let a = \"std::env\";").line_of(&["std", "env"]), None);
        assert_eq!(read("vec![Instant::now()]").line_of(&["Instant", "now"]), Some(1));
    }

    #[test]
    fn what_stands_in_test_code_is_not_named() {
        let source = read("fn a() {}\n#[cfg(test)]\nmod tests {\n use std::env;\n fn b() {}\n}\nfn c() {}");
        assert_eq!(source.line_of(&["std", "env"]), None);
        assert_eq!(source.tests_from, Some(2));
        let names: Vec<_> = source.functions.iter().map(|f| f.name.as_str()).collect();
        assert_eq!(names, ["a", "c"]);
    }

    #[test]
    fn a_function_is_as_long_as_the_lines_from_fn_to_its_brace() {
        let source = read("/// Doc.\n#[must_use]\npub fn long(\n a: u8,\n) -> u8 {\n a\n}\ntrait T { fn none(); }");
        let lengths: Vec<_> = source.functions.iter().map(|f| (f.name.as_str(), f.line, f.lines)).collect();
        assert_eq!(lengths, [("long", 3, 5)]);
    }

    #[test]
    fn a_test_is_what_a_runner_calls_also_inside_a_macro() {
        let source = read(
            "#[cfg(test)] mod tests {\n#[test] fn one() {}\n#[tokio::test(start_paused = true)] async fn two() {}\n\
             fn helper() {}\nproptest! { #[test] fn three(a in 0..9) { } }\n}",
        );
        let tests: Vec<_> = source.test_functions.iter().filter(|f| f.is_test).map(|f| f.name.as_str()).collect();
        assert_eq!(tests, ["one", "two", "three"]);
    }
}

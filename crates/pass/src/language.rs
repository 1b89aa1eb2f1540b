//! The few sentences that a handoff token may say, in Biscuit's Datalog and back.
//!
//! The first block says which session is handed on, once each, and its limits:
//!
//! ```text
//! commonwatt_handoff(1, hex:…);   version of this language, the handoff's id (16 bytes)
//! session("…"); head(hex:…); epoch(4); issuer("node.example");
//! check if operation("read") or operation("continue");
//! check if time($time), $time < 2026-11-21T20:00:00Z;
//! check if audience("bob");
//! check if spent($spent), $spent <= 5000000;
//! ```
//!
//! Each further block says limits only. Whatever else a block says (a fact, a rule, a check of another shape, a block
//! signed by somebody else, a scope annotation, a comment) makes the token refused. So nobody's Datalog runs here but
//! these shapes, whose cost is known, and the rights can be read off as they stand.

use std::sync::Arc;

use biscuit_auth::builder::{
    Binary, Check, CheckKind, Expression, Fact, Op, Policy, PolicyKind, Predicate, Rule, Term,
};
use biscuit_auth::datalog::SymbolTable;
use biscuit_auth::format::schema::{self, SnapshotBlock, check::Kind, op, op_binary, term::Content};
use commonwatt_core::lease::{HandoffId, Holder};
use commonwatt_core::turn::{Epoch, SessionId, TurnId};

use crate::rights::{Limit, Scope, Scopes};

/// The version of the language.
const VERSION: i64 = 1;
const HANDOFF: &str = "commonwatt_handoff";
const SESSION: &str = "session";
const HEAD: &str = "head";
const EPOCH: &str = "epoch";
const ISSUER: &str = "issuer";
const OPERATION: &str = "operation";
const TIME: &str = "time";
const AUDIENCE: &str = "audience";
const SPENT: &str = "spent";

/// What is handed on, and by whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) handoff: HandoffId,
    pub(crate) session: SessionId,
    pub(crate) head: TurnId,
    pub(crate) epoch: Epoch,
    pub(crate) issuer: Arc<str>,
}

/// The facts of the first block; `None` when the epoch is beyond what the token's numbers hold.
pub(crate) fn identity_facts(identity: &Identity) -> Option<[Fact; 5]> {
    let epoch = i64::try_from(identity.epoch.0).ok()?;
    Some([
        fact(HANDOFF, vec![Term::Integer(VERSION), Term::Bytes(identity.handoff.0.to_vec())]),
        fact(SESSION, vec![Term::Str(identity.session.to_string())]),
        fact(HEAD, vec![Term::Bytes(identity.head.0.to_vec())]),
        fact(EPOCH, vec![Term::Integer(epoch)]),
        fact(ISSUER, vec![Term::Str(identity.issuer.to_string())]),
    ])
}

/// A limit as a check; `None` when its number is beyond what the token's numbers hold.
pub(crate) fn check(limit: &Limit) -> Option<Check> {
    let queries = match limit {
        Limit::Audience(holder) => vec![query(AUDIENCE, Term::Str(holder.to_string()), None)],
        Limit::Scopes(scopes) => {
            scopes.iter().map(|scope| query(OPERATION, Term::Str(scope.word().into()), None)).collect()
        }
        Limit::Before(at_s) => vec![bounded(TIME, Binary::LessThan, Term::Date(*at_s))],
        Limit::SpendAtMost(micros) => {
            vec![bounded(SPENT, Binary::LessOrEqual, Term::Integer(i64::try_from(*micros).ok()?))]
        }
    };
    Some(Check { queries, kind: CheckKind::One })
}

/// What the one who checks states about the moment: the facts that the checks ask for.
pub(crate) fn circumstances(now_s: u64, scope: Scope, audience: Option<&Holder>) -> Vec<Fact> {
    let mut facts = vec![
        fact(TIME, vec![Term::Date(now_s)]),
        fact(OPERATION, vec![Term::Str(scope.word().into())]),
        // What was spent is counted elsewhere, against the limit that the token states.
        fact(SPENT, vec![Term::Integer(0)]),
    ];
    facts.extend(audience.map(|holder| fact(AUDIENCE, vec![Term::Str(holder.to_string())])));
    facts
}

/// Allows what no check denies.
pub(crate) fn policy() -> Policy {
    let always = Expression { ops: vec![Op::Value(Term::Bool(true))] };
    Policy { queries: vec![rule(Vec::new(), vec![always])], kind: PolicyKind::Allow }
}

fn fact(name: &str, terms: Vec<Term>) -> Fact {
    Fact::new(name.into(), terms)
}

fn query(name: &str, term: Term, expression: Option<Expression>) -> Rule {
    rule(vec![Predicate::new(name.into(), vec![term])], expression.into_iter().collect())
}

/// `name($name), $name < bound`
fn bounded(name: &str, relation: Binary, bound: Term) -> Rule {
    let variable = Term::Variable(name.into());
    let ops = vec![Op::Value(variable.clone()), Op::Value(bound), Op::Binary(relation)];
    query(name, variable, Some(Expression { ops }))
}

fn rule(body: Vec<Predicate>, expressions: Vec<Expression>) -> Rule {
    Rule::new(Predicate::new("query".into(), Vec::new()), body, expressions, Vec::new())
}

/// Reads blocks back, as the library gives them out: numbered words beside a table of words.
pub(crate) struct Reader {
    words: SymbolTable,
}

impl Reader {
    pub(crate) fn new(words: Vec<String>) -> Option<Self> {
        SymbolTable::from(words).ok().map(|words| Self { words })
    }

    /// What the first block hands on; `None` when it is not a handoff's.
    pub(crate) fn identity(&self, block: &SnapshotBlock) -> Option<Identity> {
        let [handoff, session, head, epoch, issuer] = block.facts.as_slice() else { return None };
        let [version, handoff] = self.terms(handoff, HANDOFF)? else { return None };
        if integer(version.content.as_ref()?)? != VERSION {
            return None;
        }
        Some(Identity {
            handoff: HandoffId(bytes(handoff.content.as_ref()?)?),
            session: SessionId(self.text(one(self.terms(session, SESSION)?)?)?.into()),
            head: TurnId(bytes(one(self.terms(head, HEAD)?)?)?),
            epoch: Epoch(integer(one(self.terms(epoch, EPOCH)?)?)?.try_into().ok()?),
            issuer: self.text(one(self.terms(issuer, ISSUER)?)?)?.into(),
        })
    }

    /// The limits that a block states; `None` when it states something else besides, apart from facts.
    pub(crate) fn limits(&self, block: &SnapshotBlock) -> Option<Vec<Limit>> {
        let SnapshotBlock { context, version: _, facts: _, rules, checks, scope, external_key } = block;
        if context.is_some() || !rules.is_empty() || !scope.is_empty() || external_key.is_some() {
            return None;
        }
        checks.iter().map(|check| self.limit(check)).collect()
    }

    fn limit(&self, check: &schema::Check) -> Option<Limit> {
        if check.kind.is_some_and(|kind| kind != Kind::One as i32) {
            return None;
        }
        if let [only] = check.queries.as_slice()
            && let Some(limit) = self.single(only)
        {
            return Some(limit);
        }
        let scopes: Option<Scopes> = check.queries.iter().map(|query| self.operation(query)).collect();
        scopes.filter(|scopes| !scopes.is_empty()).map(Limit::Scopes)
    }

    /// `operation("read")`
    fn operation(&self, query: &schema::Rule) -> Option<Scope> {
        let (name, term) = self.condition(query)?;
        if name == OPERATION && query.expressions.is_empty() { Scope::from_word(self.text(term)?) } else { None }
    }

    /// The limits that are one condition.
    fn single(&self, query: &schema::Rule) -> Option<Limit> {
        let (name, term) = self.condition(query)?;
        match (name, query.expressions.as_slice()) {
            (AUDIENCE, []) => Some(Limit::Audience(Holder(self.text(term)?.into()))),
            (TIME, [bound]) => Some(Limit::Before(date(bound_of(term, op_binary::Kind::LessThan, bound)?)?)),
            (SPENT, [bound]) => {
                let micros = integer(bound_of(term, op_binary::Kind::LessOrEqual, bound)?)?;
                Some(Limit::SpendAtMost(u64::try_from(micros).ok()?))
            }
            (_, _) => None,
        }
    }

    /// The one predicate of a query with its one term.
    fn condition<'a>(&'a self, query: &'a schema::Rule) -> Option<(&'a str, &'a Content)> {
        let [predicate] = query.body.as_slice() else { return None };
        if !query.head.terms.is_empty() || !query.scope.is_empty() {
            return None;
        }
        Some((self.words.get_symbol(predicate.name)?, one(&predicate.terms)?))
    }

    fn terms<'a>(&self, fact: &'a schema::Fact, name: &str) -> Option<&'a [schema::Term]> {
        (self.words.get_symbol(fact.predicate.name)? == name).then_some(fact.predicate.terms.as_slice())
    }

    fn text(&self, term: &Content) -> Option<&str> {
        if let Content::String(word) = term { self.words.get_symbol(*word) } else { None }
    }
}

/// The bound of `$x < bound`, where `$x` is the variable of the condition.
fn bound_of<'a>(
    variable: &Content,
    relation: op_binary::Kind,
    expression: &'a schema::Expression,
) -> Option<&'a Content> {
    let [left, right, operator] = expression.ops.as_slice() else { return None };
    let (Some(op::Content::Value(left)), Some(op::Content::Value(right)), Some(op::Content::Binary(operator))) =
        (&left.content, &right.content, &operator.content)
    else {
        return None;
    };
    let same = matches!(variable, Content::Variable(_)) && left.content.as_ref() == Some(variable);
    (same && operator.kind == relation as i32).then_some(right.content.as_ref()?)
}

fn one(terms: &[schema::Term]) -> Option<&Content> {
    if let [term] = terms { term.content.as_ref() } else { None }
}

fn integer(term: &Content) -> Option<i64> {
    if let Content::Integer(number) = term { Some(*number) } else { None }
}

fn date(term: &Content) -> Option<u64> {
    if let Content::Date(at_s) = term { Some(*at_s) } else { None }
}

fn bytes<const N: usize>(term: &Content) -> Option<[u8; N]> {
    if let Content::Bytes(bytes) = term { bytes.as_slice().try_into().ok() } else { None }
}

//! As much of PromQL as it takes to say what a query reads. Whether it is valid, promtool says.

use std::collections::BTreeSet;
use std::iter::Peekable;
use std::str::Chars;

#[derive(Debug, Default, PartialEq)]
pub struct Query {
    pub selectors: Vec<Selector>,
    /// Labels of by, without, on, ignoring, group_left and group_right.
    pub labels: BTreeSet<String>,
}

#[derive(Debug, Default, PartialEq)]
pub struct Selector {
    pub metric: String,
    pub matchers: Vec<Matcher>,
    /// What stands between the brackets.
    pub range: Option<String>,
    /// The function that it stands in, directly.
    pub function: Option<String>,
}

#[derive(Debug, PartialEq)]
pub struct Matcher {
    pub label: String,
    pub operator: String,
    pub value: String,
}

impl Selector {
    pub fn matcher(&self, label: &str) -> Option<&Matcher> {
        self.matchers.iter().find(|m| m.label == label)
    }
}

#[derive(Debug, Clone, PartialEq)]
enum Token {
    Word(String),
    Text(String),
    Range(String),
    Other(String),
}

const LABEL_LISTS: &[&str] = &["by", "without", "on", "ignoring", "group_left", "group_right"];
const OPERATORS: &[&str] = &["and", "or", "unless", "bool", "offset", "atan2", "inf", "nan"];

/// Panics on what is not PromQL as we write it: it reads our own queries only.
pub fn scan(text: &str) -> Query {
    let tokens = tokens(text);
    let mut query = Query::default();
    // The word before each open parenthesis.
    let mut open: Vec<Option<String>> = Vec::new();
    let mut at = 0;
    while let Some(token) = tokens.get(at) {
        let next = tokens.get(at + 1);
        at += 1;
        match token {
            Token::Word(word) if LABEL_LISTS.contains(&word.as_str()) => {
                if next == Some(&other("(")) {
                    at += 1;
                    while tokens[at] != other(")") {
                        if let Token::Word(label) = &tokens[at] {
                            query.labels.insert(label.clone());
                        }
                        at += 1;
                    }
                    at += 1;
                }
            }
            Token::Word(word) if OPERATORS.contains(&word.to_ascii_lowercase().as_str()) => {}
            Token::Word(word) => match next {
                Some(Token::Other(open_parenthesis)) if open_parenthesis == "(" => {
                    open.push(Some(word.clone()));
                    at += 1;
                }
                // An aggregation whose labels stand in front: sum by (job) (…).
                Some(Token::Word(list)) if ["by", "without"].contains(&list.as_str()) => {}
                Some(_) | None => {
                    let mut selector = Selector {
                        metric: word.clone(),
                        function: open.last().cloned().flatten(),
                        ..Selector::default()
                    };
                    if next == Some(&other("{")) {
                        (selector.matchers, at) = matchers(&tokens, at + 1);
                    }
                    if let Some(Token::Range(range)) = tokens.get(at) {
                        selector.range = Some(range.clone());
                        at += 1;
                    }
                    query.selectors.push(selector);
                }
            },
            // A duration of Grafana's: offset $__interval.
            Token::Other(sign) if sign == "$" => at += 1,
            Token::Other(sign) if sign == "(" => open.push(None),
            Token::Other(sign) if sign == ")" => assert!(open.pop().is_some(), "one ) too many: {text}"),
            Token::Other(sign) => assert_ne!(sign, "{", "a selector without a name: {text}"),
            Token::Text(_) | Token::Range(_) => {}
        }
    }
    assert!(open.is_empty(), "a parenthesis stays open: {text}");
    query
}

/// Those from `at` to the closing brace, and where it goes on after it.
fn matchers(tokens: &[Token], mut at: usize) -> (Vec<Matcher>, usize) {
    let mut found = Vec::new();
    while tokens[at] != other("}") {
        match &tokens[at..] {
            [Token::Word(label), Token::Other(operator), Token::Text(value), ..] => {
                found.push(Matcher {
                    label: label.clone(),
                    operator: operator.clone(),
                    value: value.clone(),
                });
                at += 3;
            }
            [Token::Other(comma), ..] if comma == "," => at += 1,
            rest => panic!("no matcher: {:?}", &rest[..rest.len().min(3)]),
        }
    }
    (found, at + 1)
}

fn other(sign: &str) -> Token {
    Token::Other(sign.to_owned())
}

fn tokens(text: &str) -> Vec<Token> {
    let mut chars = text.chars().peekable();
    let mut tokens = Vec::new();
    while let Some(&first) = chars.peek() {
        if first.is_ascii_alphabetic() || first == '_' {
            let word = take_while(&mut chars, |c| c.is_ascii_alphanumeric() || c == '_' || c == ':');
            tokens.push(Token::Word(word));
            continue;
        }
        if first.is_ascii_digit() {
            take_while(&mut chars, |c| c.is_ascii_alphanumeric() || c == '.');
            continue;
        }
        chars.next();
        match first {
            '"' => tokens.push(Token::Text(quoted(&mut chars))),
            '[' => {
                tokens.push(Token::Range(take_while(&mut chars, |c| c != ']')));
                chars.next();
            }
            '=' | '!' | '<' | '>' => {
                let mut operator = first.to_string();
                operator.extend(chars.next_if(|c| *c == '=' || *c == '~'));
                tokens.push(Token::Other(operator));
            }
            c if c.is_whitespace() => {}
            c => tokens.push(Token::Other(c.to_string())),
        }
    }
    tokens
}

fn quoted(chars: &mut Peekable<Chars>) -> String {
    let mut value = String::new();
    loop {
        match chars.next() {
            Some('"') => return value,
            Some('\\') => value.extend(chars.next()),
            Some(c) => value.push(c),
            None => panic!("a string stays open"),
        }
    }
}

fn take_while(chars: &mut Peekable<Chars>, belongs: impl Fn(char) -> bool) -> String {
    let mut word = String::new();
    while let Some(c) = chars.next_if(|c| belongs(*c)) {
        word.push(c);
    }
    word
}

#[test]
fn the_scan_finds_what_a_query_reads() {
    let query = scan(
        r#"sum by (job, le) (rate(a_total{x="1", y!~"(b|\"c).*"}[5m])) > on (job) group_left () 5 * clamp_min(b_c, 1e3)
           unless (last_over_time(up[2m] @ end()) == bool 0) or count(d) by (z) offset 5m"#,
    );
    let found: Vec<_> = query
        .selectors
        .iter()
        .map(|s| (s.metric.as_str(), s.function.as_deref(), s.range.as_deref()))
        .collect();
    assert_eq!(
        found,
        [
            ("a_total", Some("rate"), Some("5m")),
            ("b_c", Some("clamp_min"), None),
            ("up", Some("last_over_time"), Some("2m")),
            ("d", Some("count"), None)
        ]
    );
    let matchers: Vec<_> = query.selectors[0]
        .matchers
        .iter()
        .map(|m| (m.label.as_str(), m.operator.as_str(), m.value.as_str()))
        .collect();
    assert_eq!(matchers, [("x", "=", "1"), ("y", "!~", "(b|\"c).*")]);
    assert_eq!(query.labels.iter().map(String::as_str).collect::<Vec<_>>(), ["job", "le", "z"]);
}

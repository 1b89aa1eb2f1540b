//! What people write when they want a model, and the addresses that it stands for.

use std::net::IpAddr;

use reqwest::Url;

use super::{Hub, HubError, MAIN};

/// What somebody wants from a hub.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Something of a repository; which file is to be chosen.
    Repository {
        /// `owner/name`.
        repository: String,
        /// Branch, tag or commit.
        revision: String,
    },
    /// A file of a repository.
    File {
        /// `owner/name`.
        repository: String,
        /// Branch, tag or commit.
        revision: String,
        /// Its path in the repository.
        path: String,
    },
    /// A file anywhere.
    Address(Url),
}

impl Hub {
    /// Reads `owner/repo`, `owner/repo/file.gguf`, either with `@revision`, or an address, of this hub's pages or
    /// anywhere.
    ///
    /// # Errors
    /// [`HubError::NotAModel`].
    pub fn wanted(&self, text: &str) -> Result<Wanted, HubError> {
        let wrong = || HubError::NotAModel { text: text.to_owned() };
        if text.contains("://") {
            let url = Url::parse(text).map_err(|_| wrong())?;
            if !url.has_host() || !matches!(url.scheme(), "http" | "https") {
                return Err(wrong());
            }
            return Ok(self.own_page(&url).unwrap_or(Wanted::Address(url)));
        }
        let (path, revision) = text.rsplit_once('@').unwrap_or((text, MAIN));
        let names: Vec<&str> = path.split('/').collect();
        let is_name = |name: &&str| !name.is_empty() && !name.starts_with('.') && !name.contains(char::is_whitespace);
        if revision.is_empty() || !names.iter().all(is_name) {
            return Err(wrong());
        }
        let revision = revision.to_owned();
        match names.as_slice() {
            [owner, name] => Ok(Wanted::Repository { repository: format!("{owner}/{name}"), revision }),
            [owner, name, path @ ..] if !path.is_empty() => {
                Ok(Wanted::File { repository: format!("{owner}/{name}"), revision, path: path.join("/") })
            }
            _ => Err(wrong()),
        }
    }

    /// What a page of this hub shows: people copy `https://huggingface.co/owner/repo/blob/main/file.gguf`.
    fn own_page(&self, url: &Url) -> Option<Wanted> {
        let base = self.url.path().trim_end_matches('/');
        let path = url.path().strip_prefix(base).filter(|_| url.origin() == self.url.origin())?;
        let names: Vec<&str> = path.trim_matches('/').split('/').collect();
        let repository = |owner: &str, name: &str| format!("{owner}/{name}");
        match names.as_slice() {
            [owner, name] => Some(Wanted::Repository { repository: repository(owner, name), revision: MAIN.into() }),
            [owner, name, "tree", revision] => {
                Some(Wanted::Repository { repository: repository(owner, name), revision: (*revision).into() })
            }
            [owner, name, "blob" | "resolve", revision, path @ ..] if !path.is_empty() => Some(Wanted::File {
                repository: repository(owner, name),
                revision: (*revision).into(),
                path: path.join("/"),
            }),
            _ => None,
        }
    }
}

/// `base` with these names after its path, each made safe for an address.
pub(super) fn encoded(base: &Url, names: &[&str]) -> Url {
    let mut url = base.clone();
    url.set_query(None);
    if let Ok(mut segments) = url.path_segments_mut() {
        segments.pop_if_empty().extend(names);
    }
    url
}

/// The name under which a file is kept; `None` where the address does not end in one of a GGUF file.
pub(super) fn name_of(url: &Url) -> Option<String> {
    let name = percent_decoded(url.path_segments()?.next_back()?);
    let stem = name.strip_suffix(".gguf").or_else(|| name.strip_suffix(".GGUF"))?;
    let is_plain = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.' | '+' | '=' | ' ' | '(' | ')');
    let safe = !stem.is_empty() && !stem.starts_with('.') && stem.chars().all(is_plain) && stem.len() <= 200;
    safe.then(|| format!("{stem}.gguf"))
}

fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let code = tail.get(..2).filter(|_| *first == b'%').and_then(|code| std::str::from_utf8(code).ok());
        match code.and_then(|code| u8::from_str_radix(code, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = tail.get(2..).unwrap_or_default();
            }
            None => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Refuses an address whose line anybody between here and there could read and change, unless it is near.
pub(super) fn refuse_open_line(url: &Url) -> Result<(), HubError> {
    match url.scheme() {
        "https" => Ok(()),
        "http" if is_local(url) => Ok(()),
        "http" => Err(HubError::OpenLine { url: url.to_string() }),
        _ => Err(HubError::NotAnAddress { text: url.to_string() }),
    }
}

/// Whether an address is on this machine or this network.
pub(super) fn is_local(url: &Url) -> bool {
    let Some(host) = url.host_str() else { return false };
    match host.trim_matches(['[', ']']).parse::<IpAddr>() {
        Ok(IpAddr::V4(ip)) => ip.is_loopback() || ip.is_private() || ip.is_link_local(),
        Ok(IpAddr::V6(ip)) => ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local(),
        Err(_) => host == "localhost" || host.ends_with(".local") || host.ends_with(".internal") || !host.contains('.'),
    }
}

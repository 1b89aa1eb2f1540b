//! One exchange with a hub: redirects, ranges, and what the headers announce.

use reqwest::header::{HeaderMap, IF_RANGE, LOCATION, RANGE};
use reqwest::{Response, StatusCode, Url};

use super::{Hub, HubError};

/// Hubs send on to a store, and stores sometimes to a nearer one.
const REDIRECTS_MAX: usize = 5;

/// What a hub says of a file before it sends it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Offer {
    /// Its size.
    pub(super) bytes: Option<u64>,
    /// Its checksum in hexadecimal digits.
    pub(super) sha256: Option<String>,
    /// What tells this version of the file from any other, in the words of whoever sends it.
    pub(super) tag: Option<String>,
    /// The commit it belongs to.
    pub(super) commit: Option<String>,
}

/// A file that is about to come.
pub(super) struct Opened {
    /// What was said of it.
    pub(super) offer: Offer,
    /// From which byte on it comes.
    pub(super) start: u64,
    /// The bytes; `None` when all of them are here already.
    pub(super) response: Option<Response>,
}

impl Hub {
    /// Asks for a file from byte `from` on, provided that it is still the version `tag`.
    pub(super) async fn open(&self, mut url: Url, from: u64, tag: Option<&str>) -> Result<Opened, HubError> {
        let mut offer = Offer::default();
        for _ in 0..=REDIRECTS_MAX {
            let response = self.ask(&url, from, tag).await?;
            let at_hub = url.origin() == self.url.origin();
            if at_hub {
                offer.learn_from_hub(response.headers());
            }
            if response.status().is_redirection() {
                url = next(&url, response.headers())?;
                continue;
            }
            return opened(offer, from, &url, response);
        }
        let why = "it has sent on too often";
        Err(HubError::Redirect { from: self.url.to_string(), to: url.to_string(), why })
    }

    async fn ask(&self, url: &Url, from: u64, tag: Option<&str>) -> Result<Response, HubError> {
        let mut request = self.client.get(url.clone());
        if let Some(token) = self.token.as_ref().filter(|_| url.origin() == self.url.origin()) {
            request = request.bearer_auth(token);
        }
        if from > 0 {
            request = request.header(RANGE, format!("bytes={from}-"));
            if let Some(tag) = tag {
                request = request.header(IF_RANGE, tag);
            }
        }
        request.send().await.map_err(|error| HubError::unreachable(url, &error))
    }
}

fn opened(mut offer: Offer, from: u64, url: &Url, response: Response) -> Result<Opened, HubError> {
    let headers = response.headers();
    let tag = text(headers, "etag").filter(|tag| !tag.starts_with("W/"));
    offer.sha256 = offer.sha256.or_else(|| tag.as_deref().and_then(sha256));
    offer.tag = tag;
    let range = text(headers, "content-range").and_then(|range| content_range(&range));
    match response.status() {
        StatusCode::OK => {
            offer.bytes = offer.bytes.or(response.content_length());
            Ok(Opened { offer, start: 0, response: Some(response) })
        }
        StatusCode::PARTIAL_CONTENT => {
            let (start, total) = range.unwrap_or((Some(0), None));
            offer.bytes = offer.bytes.or(total);
            Ok(Opened { offer, start: start.unwrap_or(0), response: Some(response) })
        }
        StatusCode::RANGE_NOT_SATISFIABLE if from > 0 => {
            let total = range.and_then(|(_, total)| total).or(offer.bytes);
            offer.bytes = total;
            let start = if total == Some(from) { from } else { u64::MAX };
            Ok(Opened { offer, start, response: None })
        }
        status => Err(HubError::of_status(status, url)),
    }
}

impl Offer {
    /// What the hub itself says of a file that it keeps elsewhere. The store's own tags may be anything.
    fn learn_from_hub(&mut self, headers: &HeaderMap) {
        let linked = text(headers, "x-linked-etag").and_then(|tag| sha256(&tag));
        self.sha256 = linked.or_else(|| self.sha256.take());
        self.bytes = text(headers, "x-linked-size").and_then(|size| size.parse().ok()).or(self.bytes);
        self.commit = text(headers, "x-repo-commit").or_else(|| self.commit.take());
    }
}

/// Where a redirect leads, if it may be followed.
fn next(url: &Url, headers: &HeaderMap) -> Result<Url, HubError> {
    let location = text(headers, LOCATION.as_str()).unwrap_or_default();
    let refuse = |why| HubError::Redirect { from: url.to_string(), to: location.clone(), why };
    let next = url.join(&location).ok().filter(|_| !location.is_empty()).ok_or_else(|| refuse("it is no address"))?;
    match (url.scheme(), next.scheme()) {
        (_, "https") | ("http", "http") => Ok(next),
        (_, _) => Err(refuse("it is not encrypted")),
    }
}

/// `bytes 100-199/200`: from where on, and how many in all. `bytes */200`: how many there are.
fn content_range(text: &str) -> Option<(Option<u64>, Option<u64>)> {
    let (range, total) = text.trim().strip_prefix("bytes")?.trim().split_once('/')?;
    let start = range.split_once('-').and_then(|(start, _)| start.trim().parse().ok());
    Some((start, total.trim().parse().ok()))
}

/// A SHA-256 checksum in what a hub calls a tag or an object id; other hashes are shorter.
pub(super) fn sha256(tag: &str) -> Option<String> {
    let tag = tag.trim().trim_start_matches("W/").trim_matches('"');
    let digits = tag.strip_prefix("sha256:").unwrap_or(tag);
    let is_checksum = digits.len() == 64 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_checksum.then(|| digits.to_ascii_lowercase())
}

fn text(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name)?.to_str().ok().map(str::to_owned)
}

/// A whole answer, if it is not longer than `max`; else its beginning, which will not parse.
pub(super) async fn whole(response: Option<Response>, max: usize) -> Result<Vec<u8>, reqwest::Error> {
    let mut all = Vec::new();
    let Some(mut response) = response else { return Ok(all) };
    while let Some(chunk) = response.chunk().await? {
        all.extend_from_slice(&chunk);
        if all.len() > max {
            break;
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checksum_is_recognised_among_tags() {
        let sum = "A".repeat(64);
        assert_eq!(sha256(&format!("\"{sum}\"")), Some("a".repeat(64)));
        assert_eq!(sha256("\"0123456789abcdef0123456789abcdef01234567\""), None);
        assert_eq!(sha256(&"g".repeat(64)), None);
    }

    #[test]
    fn a_range_is_read_in_both_shapes() {
        assert_eq!(content_range("bytes 100-199/200"), Some((Some(100), Some(200))));
        assert_eq!(content_range("bytes */200"), Some((None, Some(200))));
        assert_eq!(content_range("bytes 0-1/*"), Some((Some(0), None)));
        assert_eq!(content_range("lines 0-1/2"), None);
    }

    #[test]
    fn a_redirect_never_gives_up_encryption() {
        let headers = |to: &str| HeaderMap::from_iter([(LOCATION, to.parse().expect("a value"))]);
        let from = |url: &str| Url::parse(url).expect("an address");
        let secure = from("https://hub/a/b");
        assert_eq!(next(&secure, &headers("/c")).expect("followed").as_str(), "https://hub/c");
        assert!(next(&secure, &headers("https://cdn/x")).is_ok());
        let said = next(&secure, &headers("http://cdn/x")).expect_err("not followed").to_string();
        assert!(said.ends_with("which is not followed: it is not encrypted"), "{said}");
        assert!(next(&secure, &headers("file:///etc/passwd")).is_err());
        assert!(next(&from("http://localhost/a"), &headers("http://localhost:1/x")).is_ok());
    }
}

//! Models from a hub: what there is, and pulling a file of several gigabytes over a line that breaks.
//!
//! *Knows:* the addresses of a hub that speaks like huggingface.co, how a download is resumed, and that nothing is
//! believed before its checksum is right. *Does not know:* what is in a model, or who wants it.
//!
//! A pull leaves these files in the vault; until the last byte is checked there are only the two in the middle:
//!
//! ```text
//! tiny-Q4_K_M.gguf                the model
//! tiny-Q4_K_M.gguf.part           what has come so far
//! tiny-Q4_K_M.gguf.part.json      of what it is a part
//! tiny-Q4_K_M.gguf.sha256         its checksum, as `sha256sum -c` reads it
//! tiny-Q4_K_M.gguf.origin.json    where it came from, when, under which licence
//! ```

mod address;
mod error;
mod exchange;
mod part;
mod receipt;

use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::Url;
use serde::Deserialize;

pub use self::address::Wanted;
pub use self::error::HubError;
pub use self::receipt::{Origin, checksum_of, origin_of};

use self::address::{encoded, is_local, name_of};
use self::exchange::{Offer, Opened};
use self::part::Part;

/// The revision that is meant when none is named.
pub const MAIN: &str = "main";
/// A hub that is there at all connects within this time.
const CONNECT: Duration = Duration::from_secs(10);
/// A line that brings nothing for this long is broken.
const STALL: Duration = Duration::from_secs(30);
/// Breaks in a row, with nothing received between them, after which a pull gives up.
const BREAKS_MAX: u32 = 5;
/// The longest list of files; the largest repositories have a few thousand.
const LIST_BYTES_MAX: usize = 16 << 20;

/// A hub.
#[derive(Debug)]
pub struct Hub {
    url: Url,
    token: Option<String>,
    client: reqwest::Client,
    /// The pause after the first break; each further one is twice as long.
    pause: Duration,
}

/// What a repository holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// The commit that the revision stands for.
    pub commit: Option<String>,
    /// The licence, as the repository states it.
    pub licence: Option<String>,
    /// Its GGUF files, by name.
    pub files: Vec<RemoteFile>,
}

/// A file at a hub.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteFile {
    /// Its path in the repository.
    pub path: String,
    /// Its size, where the hub says.
    pub bytes: Option<u64>,
    /// Its checksum in hexadecimal digits, where the hub says.
    pub sha256: Option<String>,
}

/// How far a pull has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// The hub answered: so many bytes in all, if it says, of which so many are here already.
    Begun {
        /// Size of the file.
        total: Option<u64>,
        /// What an earlier pull left.
        have: u64,
    },
    /// So many bytes are here.
    At(u64),
    /// The line broke; it is tried again after a pause.
    Broken {
        /// Why.
        cause: String,
        /// The pause.
        pause: Duration,
    },
}

/// A file that was pulled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pulled {
    /// Where it lies.
    pub path: PathBuf,
    /// Its size.
    pub bytes: u64,
    /// Its checksum in hexadecimal digits.
    pub sha256: String,
    /// Whether the hub had announced that checksum; otherwise it only says what came.
    pub announced: bool,
    /// Whether it was there before, and nothing was fetched.
    pub was_there: bool,
}

impl Hub {
    /// The hub at `url`. The token is sent to it and to nobody else.
    ///
    /// # Errors
    /// An address that is none, or that is neither encrypted nor on this network.
    pub fn new(url: &str, token: Option<&str>) -> Result<Self, HubError> {
        let wrong = || HubError::NotAnAddress { text: url.to_owned() };
        let url = Url::parse(url).map_err(|_| wrong())?;
        if !url.has_host() || url.cannot_be_a_base() {
            return Err(wrong());
        }
        address::refuse_open_line(&url)?;
        let client = reqwest::Client::builder()
            .connect_timeout(CONNECT)
            .read_timeout(STALL)
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("commonwatt/", env!("CARGO_PKG_VERSION")));
        let client = if is_local(&url) { client.no_proxy() } else { client };
        let client = client.build().map_err(|error| HubError::unreachable(&url, &error))?;
        Ok(Self { url, token: token.map(str::to_owned), client, pause: Duration::from_millis(500) })
    }

    /// The GGUF files of a repository.
    ///
    /// # Errors
    /// [`HubError`].
    pub async fn list(&self, repository: &str, revision: &str) -> Result<Listing, HubError> {
        let mut names = vec!["api", "models"];
        names.extend(repository.split('/'));
        if revision != MAIN {
            names.extend(["revision", revision]);
        }
        let mut url = encoded(&self.url, &names);
        url.set_query(Some("blobs=true"));
        let Opened { response, .. } = self.open(url.clone(), 0, None).await?;
        let bytes = exchange::whole(response, LIST_BYTES_MAX).await.map_err(|e| HubError::unreachable(&url, &e))?;
        let answer: ModelAnswer = serde_json::from_slice(&bytes)
            .map_err(|error| HubError::NotAHub { url: url.to_string(), cause: error.to_string() })?;
        Ok(answer.listing())
    }

    /// Fetches a file into the vault, from where an earlier pull stopped. When this returns, the file is whole, its
    /// checksum is the one that the hub announced, and it is on disk.
    ///
    /// # Errors
    /// [`HubError`]. What has come so far is kept, unless it turned out to be wrong.
    pub async fn pull(
        &self,
        wanted: &Wanted,
        vault: &Path,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Pulled, HubError> {
        let (url, name) = self.location(wanted)?;
        let path = vault.join(name);
        let mut part = Part::open(&path, &url).await?;
        let offer = match self.receive_all(&url, &path, &mut part, progress).await {
            Ok(Received::Whole(offer)) => offer,
            Ok(Received::Already(pulled)) => {
                part.discard().await;
                return Ok(pulled);
            }
            Err(error) => {
                if part.len() == 0 {
                    part.discard().await;
                }
                return Err(error);
            }
        };
        let (bytes, sha256) = part.finish(&path, &offer).await?;
        self.note(wanted, &url, (&path, &sha256), &offer).await?;
        Ok(Pulled { path, bytes, sha256, announced: offer.sha256.is_some(), was_there: false })
    }

    /// As many exchanges as it takes. A hub that cannot be reached at all is not tried again.
    async fn receive_all(
        &self,
        url: &Url,
        path: &Path,
        part: &mut Part,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Received, HubError> {
        let mut breaks = 0;
        loop {
            let had = part.len();
            let error = match self.receive(url, path, part, progress).await {
                Ok(received) => return Ok(received),
                Err(error) => error,
            };
            let never_met = breaks == 0 && matches!(error, HubError::Unreachable { .. });
            breaks = if part.len() > had { 1 } else { breaks + 1 };
            if never_met || !error.may_pass() || breaks > BREAKS_MAX {
                return Err(error);
            }
            let pause = self.pause * 2_u32.pow(breaks - 1);
            progress(Progress::Broken { cause: error.to_string(), pause });
            tokio::time::sleep(pause).await;
        }
    }

    /// One exchange: asks for what is missing, and keeps what comes.
    async fn receive(
        &self,
        url: &Url,
        path: &Path,
        part: &mut Part,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Received, HubError> {
        let Opened { offer, start, response } = self.open(url.clone(), part.len(), part.tag()).await?;
        if path.exists() {
            return already(path, &offer).await.map(Received::Already);
        }
        if start != part.len() || !part.belongs_to(&offer) {
            part.restart().await?;
            if start != 0 {
                // The rest of another file was sent: the next exchange asks for all of this one.
                return Err(HubError::Changed);
            }
        }
        part.prepare(&offer).await?;
        progress(Progress::Begun { total: offer.bytes, have: part.len() });
        let Some(mut response) = response else { return Ok(Received::Whole(offer)) };
        loop {
            match response.chunk().await {
                Ok(Some(chunk)) => {
                    part.write(&chunk, url, &offer).await?;
                    progress(Progress::At(part.len()));
                }
                Ok(None) if offer.bytes.is_none_or(|bytes| bytes == part.len()) => return Ok(Received::Whole(offer)),
                Ok(None) => return Err(part.broke("the other side closed it", &offer).await),
                Err(error) => return Err(part.broke(&error::root(&error), &offer).await),
            }
        }
    }

    async fn note(
        &self,
        wanted: &Wanted,
        url: &Url,
        (path, sha256): (&Path, &str),
        offer: &Offer,
    ) -> Result<(), HubError> {
        let (repository, revision, licence) = match wanted {
            Wanted::File { repository, revision, .. } | Wanted::Repository { repository, revision } => {
                // The licence is good to know; that the hub does not tell it is no reason to have no model.
                let licence = self.list(repository, revision).await.ok().and_then(|listing| listing.licence);
                (Some(repository.clone()), Some(revision.clone()), licence)
            }
            Wanted::Address(_) => (None, None, None),
        };
        let origin = Origin { url: url.to_string(), repository, revision, commit: offer.commit.clone(), licence };
        receipt::write(path, sha256, &origin).await
    }

    fn location(&self, wanted: &Wanted) -> Result<(Url, String), HubError> {
        let url = match wanted {
            Wanted::Address(url) => {
                address::refuse_open_line(url)?;
                url.clone()
            }
            Wanted::File { repository, revision, path } => {
                let mut names: Vec<&str> = repository.split('/').collect();
                names.extend(["resolve", revision]);
                names.extend(path.split('/'));
                encoded(&self.url, &names)
            }
            Wanted::Repository { repository, .. } => return Err(HubError::NoFile { repository: repository.clone() }),
        };
        let name = name_of(&url).ok_or_else(|| HubError::NotGguf { url: url.to_string(), begins: None })?;
        Ok((url, name))
    }
}

/// What an exchange led to.
enum Received {
    /// Every byte is here.
    Whole(Offer),
    /// The file was in the vault before.
    Already(Pulled),
}

/// A file of that name lies in the vault: it is the one, or in the way.
async fn already(path: &Path, offer: &Offer) -> Result<Pulled, HubError> {
    let (bytes, sha256) = part::measure(path).await?;
    let same = offer.sha256.as_ref().map_or(offer.bytes == Some(bytes), |announced| *announced == sha256);
    if !same {
        return Err(HubError::InTheWay { path: path.display().to_string() });
    }
    let announced = offer.sha256.is_some();
    Ok(Pulled { path: path.to_owned(), bytes, sha256, announced, was_there: true })
}

/// The answer of `/api/models/{repository}`, as far as it matters.
#[derive(Deserialize)]
struct ModelAnswer {
    #[serde(default)]
    sha: Option<String>,
    #[serde(default)]
    tags: Vec<String>,
    #[serde(default)]
    siblings: Vec<Sibling>,
}

#[derive(Deserialize)]
struct Sibling {
    rfilename: String,
    #[serde(default)]
    size: Option<u64>,
    #[serde(default)]
    lfs: Option<Lfs>,
}

#[derive(Deserialize)]
struct Lfs {
    #[serde(default, alias = "oid")]
    sha256: Option<String>,
    #[serde(default)]
    size: Option<u64>,
}

impl ModelAnswer {
    fn listing(self) -> Listing {
        let is_model = |sibling: &Sibling| sibling.rfilename.to_ascii_lowercase().ends_with(".gguf");
        let file = |sibling: Sibling| {
            let bytes = sibling.lfs.as_ref().and_then(|lfs| lfs.size).or(sibling.size);
            let sha256 = sibling.lfs.and_then(|lfs| lfs.sha256).and_then(|text| exchange::sha256(&text));
            RemoteFile { path: sibling.rfilename, bytes, sha256 }
        };
        let mut files: Vec<RemoteFile> = self.siblings.into_iter().filter(is_model).map(file).collect();
        files.sort_by(|a, b| a.path.cmp(&b.path));
        let licence = self.tags.iter().find_map(|tag| tag.strip_prefix("license:")).map(str::to_owned);
        Listing { commit: self.sha, licence, files }
    }
}

#[cfg(test)]
mod tests;

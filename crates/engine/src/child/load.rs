//! From a file to a model that can be decoded.

use std::num::NonZeroU32;
#[cfg(target_os = "linux")]
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use llama_cpp_4::chat::ChatTemplates;
use llama_cpp_4::context::LlamaContext;
use llama_cpp_4::context::params::LlamaContextParams;
use llama_cpp_4::llama_backend::LlamaBackend;
use llama_cpp_4::llama_batch::LlamaBatch;
use llama_cpp_4::model::LlamaModel;
use llama_cpp_4::model::params::LlamaModelParams;
use llama_cpp_4::token::LlamaToken;

use crate::gguf::Header;
use crate::protocol::{Load, Ready, Sandbox, Source};
use crate::vault;

/// The pilot's weights.
static PILOT: &[u8] = include_bytes!("../../pilot/pilot.gguf");

/// Tokens computed at once. More make prompts no faster on a CPU and calls less fair.
pub(super) const BATCH: u32 = 512;

/// The parts of a model as paths that llama.cpp can open.
pub(super) struct ModelFile {
    paths: Vec<PathBuf>,
    /// What must stay open or on disk until the model is loaded.
    held: Held,
}

enum Held {
    Nothing,
    #[cfg(target_os = "linux")]
    Memory {
        _fd: OwnedFd,
    },
    #[cfg(not(target_os = "linux"))]
    Temporary {
        _file: tempfile::NamedTempFile,
    },
}

impl ModelFile {
    /// The files on disk that must be readable. The pilot needs none: it is in memory, where Landlock does not look.
    pub(super) fn on_disk(&self) -> &[PathBuf] {
        match &self.held {
            #[cfg(target_os = "linux")]
            Held::Memory { .. } => &[],
            #[cfg(not(target_os = "linux"))]
            Held::Temporary { .. } => &self.paths,
            Held::Nothing => &self.paths,
        }
    }
}

/// Finds the parts of a model on disk, or unpacks the pilot.
///
/// # Errors
/// A sentence about the file.
pub(super) fn file(source: &Source) -> Result<ModelFile, String> {
    match source {
        Source::Pilot => pilot().map_err(|e| format!("the pilot could not be unpacked: {e}")),
        Source::File(path) => {
            let paths = vault::parts(path).map_err(|e| e.to_string())?;
            Ok(ModelFile { paths, held: Held::Nothing })
        }
    }
}

/// The pilot in memory, sealed so that nothing can change it under the loader's hands.
#[cfg(target_os = "linux")]
fn pilot() -> std::io::Result<ModelFile> {
    use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
    use std::io::Write as _;
    use std::os::fd::AsRawFd as _;

    let fd = memfd_create("pilot", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    let mut memory = std::fs::File::from(fd);
    memory.write_all(PILOT)?;
    let fd = OwnedFd::from(memory);
    fcntl_add_seals(&fd, SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE | SealFlags::SEAL)?;
    let path = PathBuf::from(format!("/proc/self/fd/{}", fd.as_raw_fd()));
    Ok(ModelFile { paths: vec![path], held: Held::Memory { _fd: fd } })
}

/// The pilot in a file that goes away with the process.
#[cfg(not(target_os = "linux"))]
fn pilot() -> std::io::Result<ModelFile> {
    use std::io::Write as _;

    let mut file = tempfile::Builder::new().prefix("pilot").suffix(".gguf").tempfile()?;
    file.write_all(PILOT)?;
    Ok(ModelFile { paths: vec![file.path().to_owned()], held: Held::Temporary { _file: file } })
}

/// A model in memory.
pub(super) struct Loaded {
    pub(super) backend: LlamaBackend,
    pub(super) model: LlamaModel,
    /// `None` for a model that only embeds.
    pub(super) templates: Option<ChatTemplates>,
}

/// Checks the header ourselves, for the better message, and then lets llama.cpp read the file.
///
/// # Errors
/// A sentence about the file.
pub(super) fn model(file: &ModelFile, load: &Load) -> Result<Loaded, String> {
    let first = file.paths.first().ok_or("the model has no files")?;
    Header::read_file(first).map_err(|e| e.to_string())?;
    let mut backend = LlamaBackend::init().map_err(|e| e.to_string())?;
    let mut params = LlamaModelParams::default();
    if let Some(layers) = load.gpu_layers {
        params = params.with_n_gpu_layers(layers);
    }
    let model = if file.paths.len() > 1 {
        LlamaModel::load_from_splits(&backend, &file.paths, &params)
    } else {
        LlamaModel::load_from_file(&backend, first, &params)
    };
    // What it says while it loads helps to understand a failure. Later it would quote conversations.
    backend.void_logs();
    let model = model.map_err(|_| format!("llama.cpp cannot read it{}", hint(first)))?;
    let chats = model.has_decoder() && !model.has_encoder() && !model.is_diffusion();
    let templates = match chats {
        true => Some(ChatTemplates::from_model(&model, None).map_err(|e| format!("its chat template is broken: {e}"))?),
        false => None,
    };
    Ok(Loaded { backend, model, templates })
}

fn hint(path: &Path) -> String {
    match Header::read_file(path) {
        Ok(header) => format!(", although its header is fine (architecture `{}`)", header.architecture),
        Err(_) => String::new(),
    }
}

/// The cache and scratch memory of all conversations, warmed up with one token so that threads and pages are there
/// before the sandbox closes and the first call comes.
///
/// # Errors
/// When there is not enough memory.
pub(super) fn context<'a>(loaded: &'a Loaded, load: &Load) -> Result<LlamaContext<'a>, String> {
    let threads = i32::try_from(load.threads).unwrap_or(1);
    let params = LlamaContextParams::default()
        .with_n_ctx(NonZeroU32::new(cache_tokens(&loaded.model, load)))
        .with_n_seq_max(load.parallel)
        .with_kv_unified(true)
        .with_n_batch(BATCH)
        .with_n_ubatch(BATCH)
        .with_n_outputs_max(load.parallel)
        .with_n_threads(threads)
        .with_n_threads_batch(threads)
        .with_no_perf(true);
    let mut context =
        loaded.model.new_context(&loaded.backend, params).map_err(|_| "there is not enough memory for its cache")?;
    if loaded.templates.is_some() {
        let mut batch = LlamaBatch::new(1, 1);
        batch.add(LlamaToken(0), 0, &[0], true).map_err(|e| e.to_string())?;
        context.decode(&mut batch).map_err(|e| format!("its first token could not be computed: {e}"))?;
        context.clear_kv_cache();
    }
    Ok(context)
}

/// Prompt and answer of one conversation.
fn window(model: &LlamaModel, load: &Load) -> u32 {
    let trained = model.n_ctx_train();
    if trained == 0 { load.context_tokens } else { load.context_tokens.min(trained) }.max(1)
}

/// Whole windows for half of the slots, as far as the memory for the cache goes; one at least. Calls that ask for less
/// than a window leave room for others, so that all slots are used.
fn cache_tokens(model: &LlamaModel, load: &Load) -> u32 {
    let window = window(model, load);
    let wanted = window.saturating_mul(load.parallel.div_ceil(2));
    let affordable = load.cache_bytes / bytes_per_token(model).max(1);
    let affordable = u32::try_from(affordable).unwrap_or(u32::MAX);
    wanted.min(affordable).max(window)
}

/// Keys and values of one token in all layers, two bytes each.
fn bytes_per_token(model: &LlamaModel) -> u64 {
    let positive = |n: i32| u64::try_from(n).unwrap_or(0);
    let heads = positive(model.n_head()).max(1);
    let head_length = positive(model.n_embd()) / heads;
    positive(model.n_layer()) * positive(model.n_head_kv()).max(1) * head_length * 4
}

impl Loaded {
    pub(super) fn ready(&self, context: &LlamaContext<'_>, load: &Load, sandbox: Sandbox) -> Ready {
        Ready {
            window: window(&self.model, load),
            trained_window: self.model.n_ctx_train(),
            cache_tokens: context.n_ctx(),
            parallel: load.parallel,
            threads: load.threads,
            embedding_length: u32::try_from(self.model.n_embd_out()).unwrap_or(0),
            chats: self.templates.is_some(),
            sandbox,
        }
    }
}

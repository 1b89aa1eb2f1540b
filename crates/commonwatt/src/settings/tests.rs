//! Stories about who wins, and about what is found before the daemon starts.

use super::*;

struct Scene {
    _folder: tempfile::TempDir,
    origin: Origin,
}

fn scene(text: &str, env: &[(&str, &str)]) -> Scene {
    let folder = tempfile::tempdir().expect("a folder");
    let home = folder.path().join("home").to_string_lossy().into_owned();
    let file = folder.path().join("commonwatt.toml");
    std::fs::write(&file, text).expect("writable");
    let env = Env::of(&[env, &[(env::HOME, home.as_str())]].concat());
    let origin = Origin::new(env, Some(file)).expect("a home");
    Scene { _folder: folder, origin }
}

fn settled(text: &str, env: &[(&str, &str)]) -> Settings {
    scene(text, env).origin.load().expect("valid")
}

fn said(text: &str) -> String {
    let scene = scene(text, &[]);
    let problems = scene.origin.load().expect_err("a mistake").0;
    let lines = problems.iter().map(|problem| {
        let (_, line, column) = problem.position().expect("a place in the file");
        let help = problem.advice().unwrap_or_default();
        format!("{line}:{column} {} — {help}", problem.message())
    });
    lines.collect::<Vec<_>>().join("\n")
}

fn provider<'a>(settings: &'a Settings, id: &str) -> &'a Provider {
    settings.providers.iter().find(|provider| provider.spec.id == id).expect("known")
}

#[test]
fn nothing_need_be_configured() {
    let settings = settled("", &[]);
    assert_eq!(settings.listen.to_string(), LISTEN);
    assert_eq!(settings.limits.body_bytes, 32 << 20);
    assert_eq!(settings.limits.attempts, attempt::Limits::default());
    assert!(settings.engine.enabled && settings.substitute && settings.keys.is_empty());
    assert_eq!(settings.engine.vault, settings.origin.home.vault());
    assert_eq!(settings.hub.url, "https://huggingface.co");
}

#[test]
fn a_file_in_the_home_folder_is_read_and_need_not_be_there() {
    let scene = scene("", &[]);
    let origin = Origin { file: None, ..scene.origin };
    assert_eq!(origin.load().expect("valid").file, None);
    origin.home.prepare().expect("writable");
    std::fs::write(origin.home.config_file(), "listen = '127.0.0.1:9'").expect("writable");
    let settings = origin.load().expect("valid");
    assert_eq!((settings.listen.port(), settings.file), (9, Some(origin.home.config_file())));
}

#[test]
fn a_file_that_somebody_named_must_be_there() {
    let scene = scene("", &[]);
    let origin = Origin { file: Some("/nowhere/commonwatt.toml".into()), ..scene.origin };
    let said = origin.load().expect_err("missing").to_string();
    assert!(said.starts_with("cannot read `/nowhere/commonwatt.toml`"), "{said}");
}

#[test]
fn our_own_variables_win_over_the_file_and_the_command_line_over_both() {
    let text = "listen = '127.0.0.1:1'\n[hub]\nurl = 'https://hub.example'";
    assert_eq!(settled(text, &[]).listen.port(), 1);
    let env = [(env::LISTEN, "127.0.0.1:2"), (env::HUB, "http://127.0.0.1:9")];
    assert_eq!(settled(text, &env).listen.port(), 2);
    assert_eq!(settled(text, &env).hub.url, "http://127.0.0.1:9");
    let scene = scene(text, &env);
    let origin = Origin { listen: Some("localhost:3".into()), ..scene.origin };
    assert_eq!(origin.load().expect("valid").listen.to_string(), "127.0.0.1:3");
}

#[test]
fn an_address_that_is_none_is_blamed_on_whoever_said_it() {
    assert_eq!(
        said("listen = 'here'"),
        "1:10 `here` is not an address to listen on — write an address and a port, such as `127.0.0.1:4600`"
    );
    let scene = scene("", &[(env::LISTEN, "4600")]);
    let said = scene.origin.load().expect_err("no address").to_string();
    assert!(said.starts_with("`4600` is not an address to listen on, but stands in `COMMONWATT_LISTEN`"), "{said}");
}

#[test]
fn a_key_in_the_environment_opens_a_provider() {
    let settings = settled("", &[("OPENAI_API_KEY", "sk-1")]);
    assert_eq!(provider(&settings, "openai").access, Access::Key(Secret::new("sk-1")));
    let Access::Missing(hint) = &provider(&settings, "anthropic").access else { panic!("no key") };
    assert!(hint.starts_with("set `ANTHROPIC_API_KEY`"), "{hint}");
}

#[test]
fn the_file_says_where_another_key_is() {
    let settings =
        settled("[providers.openai]\nkey = 'env:WORK_KEY'", &[("WORK_KEY", "sk-w"), ("OPENAI_API_KEY", "sk-1")]);
    assert_eq!(provider(&settings, "openai").access, Access::Key(Secret::new("sk-w")));
    let settings = settled("[providers.openai]\nkey = 'env:WORK_KEY'", &[("OPENAI_API_KEY", "sk-1")]);
    assert_eq!(provider(&settings, "openai").access, Access::Missing("set `WORK_KEY`".into()));
    let settings = settled("[providers.openai]\nenabled = false", &[("OPENAI_API_KEY", "sk-1")]);
    assert_eq!(provider(&settings, "openai").access, Access::Off);
}

#[test]
fn a_key_file_is_read_beside_the_configuration_and_must_be_there() {
    let scene = scene("[providers.openai]\nkey = 'file:openai.key'", &[]);
    let said = scene.origin.load().expect_err("missing").to_string();
    assert!(said.contains("commonwatt.toml:2:7: cannot read") && said.contains("openai.key"), "{said}");
    let folder = scene.origin.file().parent().expect("a folder").to_owned();
    std::fs::write(folder.join("openai.key"), "sk-f\n").expect("writable");
    let settings = scene.origin.load().expect("valid");
    assert_eq!(provider(&settings, "openai").access, Access::Key(Secret::new("sk-f")));
}

#[test]
fn a_key_in_the_file_is_refused_and_not_repeated() {
    let scene = scene("[providers.openai]\nkey = 'sk-proj-secret'\n", &[]);
    let problems = scene.origin.load().expect_err("a literal key");
    let shown = problems.render(crate::term::Paint::PLAIN, None);
    assert!(shown.contains("a key does not belong in this file"), "{shown}");
    assert!(shown.contains("`key = \"env:OPENAI_API_KEY\"`"), "{shown}");
    assert!(!shown.contains("secret"), "{shown}");
}

#[test]
fn an_sdks_variable_moves_its_provider() {
    let moved = settled("", &[("OPENAI_BASE_URL", "http://127.0.0.1:9000/v1")]);
    assert_eq!(provider(&moved, "openai").spec.base_url, "http://127.0.0.1:9000/v1");
    let text = "[providers.openai]\nbase_url = 'https://eu.example/v1'";
    let file = settled(text, &[("OPENAI_BASE_URL", "http://127.0.0.1:9000/v1")]);
    assert_eq!(provider(&file, "openai").spec.base_url, "https://eu.example/v1");
}

#[test]
fn an_environment_that_sends_programs_here_does_not_send_our_key_elsewhere() {
    let env = [
        ("OPENAI_BASE_URL", "http://localhost:4600/v1"),
        ("OPENAI_API_KEY", "cw-ours"),
        ("ANTHROPIC_API_KEY", "cw-ours"),
        ("GROQ_API_KEY", "gsk-theirs"),
        (env::KEY, "cw-ours"),
    ];
    let settings = settled("", &env);
    let missing = |id: &str| match &provider(&settings, id).access {
        Access::Missing(hint) => hint.clone(),
        access @ (Access::Key(_) | Access::Keyless | Access::Off) => panic!("{id}: {access:?}"),
    };
    assert!(missing("openai").starts_with("`OPENAI_BASE_URL` leads back to this daemon"), "{}", missing("openai"));
    assert!(missing("anthropic").starts_with("its key is one of this daemon's own"), "{}", missing("anthropic"));
    assert_eq!(provider(&settings, "groq").access, Access::Key(Secret::new("gsk-theirs")));
}

#[test]
fn a_provider_is_refined_field_by_field() {
    let settings = settled(
        "[providers.openai]\nrank = 3\ntimeouts = { idle_s = 5 }\nabilities = { images = false }\n\
         facts.retention = { value = 'none', source = 'contract 17', as_of = '2026-11-01' }\n\
         [providers.openai.model.'gpt-x']\ntier = 'free'\nwindow_tokens = 9\n",
        &[],
    );
    let spec = &provider(&settings, "openai").spec;
    assert_eq!((spec.rank, spec.timeouts.idle_s, spec.abilities.images), (3, Some(5.0), Some(false)));
    assert_eq!(spec.facts.retention.as_ref().map(|fact| fact.source.as_str()), Some("contract 17"));
    let model = spec.model.get("gpt-x").expect("described");
    assert_eq!((model.tier, model.window_tokens), (Some(Tier::Free), Some(9)));
    assert!(provider(&settings, "openai").in_file && !provider(&settings, "anthropic").in_file);
}

#[test]
fn a_provider_of_ones_own_needs_three_things() {
    let text = "[providers.campus]\ndialect = 'openai-chat'\nbase_url = 'http://10.0.0.7:8000/v1'\ntier = 'local'\n";
    let settings = settled(text, &[]);
    let campus = provider(&settings, "campus");
    let odd = settled(&format!("{text}quirks = {{ max_tokens_field = 'max_completion_tokens' }}"), &[]);
    let field = provider(&odd, "campus").spec.quirks.max_tokens_field.clone();
    assert_eq!(field.as_deref(), Some("max_completion_tokens"));
    assert_eq!((campus.spec.tier, &campus.access), (Tier::Local, &Access::Keyless));

    let said = said("[providers.opena]\nrank = 1");
    assert!(said.starts_with("1:12 provider `opena` is not built in — did you mean `openai`?"), "{said}");
    assert!(said.contains("`dialect`, `base_url`, `tier`"), "{said}");
}

#[test]
fn words_that_mean_nothing_are_found_with_their_place() {
    let base = "[providers.campus]\ndialect = 'openai-chat'\nbase_url = 'http://h/v1'\ntier = 'local'\n";
    for (text, wanted) in [
        (base.replace("'local'", "'loca'"), "4:8 `loca` is not a tier"),
        (base.replace("openai-chat", "openai"), "2:11 `openai` is not a dialect"),
        (base.replace("http://h/v1", "h/v1"), "3:12 `h/v1` is not an address on the web"),
        ("[providers.engine]\nrank = 1".into(), "1:12 `engine` is the engine of this program"),
        ("[limits]\nbody_mib = 0".into(), "2:12 `0` is out of range"),
        ("[timeouts]\nidle_s = -1".into(), "2:10 `-1` is no wait"),
        ("[hub]\nurl = 'hub'".into(), "2:7 `hub` is not an address on the web"),
        ("[providers.openai.facts]\nseat = { value = 'US', as_of = 'now' }".into(), "2:32 `now` is not a day"),
        ("[[keys]]\nname = 'a'\nhash = 'blake3:0'".into(), "3:8 this is no hash of a key"),
        (
            format!("[[keys]]\nname = 'a'\nhash = 'blake3:{}'\ntiers = ['all']", "0".repeat(64)),
            "4:10 `all` is not a tier",
        ),
        ("[telemetry]\notlp_endpoint = 'x'".into(), "2:17 `x` is not an address on the web"),
    ] {
        let said = said(&text);
        assert!(said.starts_with(wanted), "{text}\n{said}");
    }
}

#[test]
fn a_route_that_leads_nowhere_is_found() {
    for (text, wanted) in [
        ("[routes.fast]\ncandidates = []", "2:14 the route `fast` leads to nobody"),
        ("[routes.auto]\ncandidates = ['tier:local']", "1:9 the route `auto` is built in"),
        ("[routes.fast]\ncandidates = ['tier:near']", "2:15 `near` is not a tier"),
        (
            "[routes.fast]\ncandidates = ['tier:local', 'opnai/x']",
            "2:29 `opnai/x` names nobody: there is no provider `opnai` — did you mean `openai`?",
        ),
        ("[routes.fast]\ncandidates = ['frobnicator']", "2:15 `frobnicator` is served by no provider"),
        ("[routes.'a/b']\ncandidates = ['tier:local']", "1:9 `a/b` is no name for a route"),
    ] {
        let said = said(text);
        assert!(said.starts_with(wanted), "{text}\n{said}");
    }
    let routes = settled("[routes.fast]\ncandidates = ['openai/gpt-x', 'engine/pilot', 'tier:local']", &[]).routes;
    assert_eq!(routes.len(), 1);
}

#[test]
fn everything_that_is_wrong_is_said_at_once() {
    let said = said("listen = 'x'\n[limits]\nbody_mib = 0\n[routes.fast]\ncandidates = []");
    assert_eq!(said.lines().count(), 3, "{said}");
}

#[test]
fn keys_of_file_and_home_are_one_ring() {
    let hash = crate::home::hash_text(&commonwatt_grid::identity::hash_key("cw-team"));
    let scene =
        scene(&format!("[[keys]]\nname = 'team'\nhash = '{hash}'\ntiers = ['local']"), &[(env::KEY, "cw-first")]);
    let settings = scene.origin.load().expect("valid");
    let ring = commonwatt_grid::identity::Keyring::new(settings.keys);
    assert_eq!(ring.identify(Some("cw-team")).expect("known").grants.tiers, [Tier::Local].into_iter().collect());
    assert_eq!(ring.identify(Some("cw-first")).expect("known").name.as_ref(), crate::home::FIRST);
}

#[test]
fn every_example_loads() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples");
    let mut seen = 0;
    for entry in std::fs::read_dir(folder).expect("examples") {
        let path = entry.expect("readable").path();
        if path.extension().is_none_or(|ending| ending != "toml") {
            continue;
        }
        let scene = scene("", &[]);
        let origin = Origin { file: Some(path.clone()), ..scene.origin.clone() };
        if let Err(problems) = origin.load() {
            panic!("{}", problems.render(crate::term::Paint::PLAIN, None));
        }
        seen += 1;
    }
    assert!(seen >= 4, "{seen} examples");
}

#[test]
fn callers_without_a_key_are_let_in_on_this_machine_only() {
    assert_eq!(settled("", &[]).keyless, None);
    assert_eq!(settled("keyless = 'first'", &[]).keyless.as_deref(), Some("first"));
    assert_eq!(
        said("listen = '0.0.0.0:4600'\nkeyless = 'first'"),
        "2:11 callers without a key would be let in from outside, since `listen` is `0.0.0.0:4600` — remove `keyless`, or listen on `127.0.0.1:4600`"
    );
    assert_eq!(
        said("keyless = 'nobody'"),
        "1:11 there is no key of the name `nobody` — write the name of one of `keys`"
    );
}

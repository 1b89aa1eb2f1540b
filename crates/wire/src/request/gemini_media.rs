//! Files in Gemini's requests: where they lie, and of what type they are.

/// Whether only Google's servers can fetch it.
pub(super) fn is_at_google(uri: &str) -> bool {
    let host = uri.strip_prefix("https://").and_then(|rest| rest.split('/').next());
    match host {
        Some(host) => host == "generativelanguage.googleapis.com",
        None => !uri.starts_with("http://"),
    }
}

/// The type that an image's address ends in.
pub(super) fn type_of(url: &str) -> Option<&'static str> {
    let path = url.split(['?', '#']).next()?;
    let file = path.rsplit('/').next()?;
    let (_, ending) = file.rsplit_once('.')?;
    Some(match ending.to_ascii_lowercase().as_str() {
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "webp" => "image/webp",
        "gif" => "image/gif",
        "heic" => "image/heic",
        "heif" => "image/heif",
        "bmp" => "image/bmp",
        "avif" => "image/avif",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_type_is_told_by_the_ending() {
        assert_eq!(type_of("https://x.example/a.b/cat.JPG?size=2#top"), Some("image/jpeg"));
        assert_eq!(type_of("https://x.example/a.png/cat"), None);
        assert!(is_at_google("gs://bucket/cat.png") && is_at_google("https://generativelanguage.googleapis.com/v1/f"));
        assert!(!is_at_google("https://storage.googleapis.com/bucket/cat.png"));
    }
}

//! Base path: templates use addresses from the root; this layer prefixes all of them, so no page can miss
//! one.
//!
//! Values in templates have their quotation marks escaped, so a matched attribute always comes from a
//! template.

use crate::site::Site;
use axum::{
    body::{Body, to_bytes},
    extract::Request,
    middleware::Next,
    response::Response,
};
use http::{StatusCode, header};
use std::sync::Arc;

/// Attributes that hold addresses. The script prefixes the addresses it builds with `data-base`.
const ATTRIBUTES: [&str; 5] = ["href", "action", "src", "data-stream", "data-base"];

/// Prefixes all addresses in a page with the base path.
pub(crate) async fn prefix_addresses(request: Request, next: Next) -> Response {
    let site = request.extensions().get::<Arc<Site>>().cloned();
    let response = next.run(request).await;
    let kind = response.headers().get(header::CONTENT_TYPE);
    match site {
        Some(site)
            if !site.base.is_empty()
                && kind.is_some_and(|kind| kind.as_bytes().starts_with(b"text/html")) =>
        {
            prefix_page(&site.base, response).await
        }
        _ => response,
    }
}

async fn prefix_page(base: &str, response: Response) -> Response {
    let (mut parts, body) = response.into_parts();
    // A page is rendered completely before it is sent, so this reads from memory.
    let Ok(page) = to_bytes(body, usize::MAX).await else {
        parts.status = StatusCode::INTERNAL_SERVER_ERROR;
        return Response::from_parts(parts, Body::empty());
    };
    parts.headers.remove(header::CONTENT_LENGTH);
    Response::from_parts(
        parts,
        Body::from(with_base(base, &String::from_utf8_lossy(&page))),
    )
}

fn with_base(base: &str, page: &str) -> String {
    ATTRIBUTES.iter().fold(page.to_owned(), |page, name| {
        page.replace(&format!(" {name}=\"/"), &format!(" {name}=\"{base}/"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, path::Path};

    /// Attributes that start like addresses but are not: form values, and texts that the script prefixes.
    const TEXTS: [&str; 2] = ["value", "data-copy"];

    fn templates(folder: &Path) -> Vec<String> {
        fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .flat_map(|path| {
                if path.is_dir() {
                    templates(&path)
                } else {
                    vec![fs::read_to_string(path).unwrap()]
                }
            })
            .collect()
    }

    #[test]
    fn every_attribute_with_an_address_is_known() {
        let all = templates(&Path::new(env!("CARGO_MANIFEST_DIR")).join("templates"));
        let mut seen = 0;
        for (before, _) in all
            .iter()
            .flat_map(|text| text.match_indices("=\"/").map(move |(at, _)| text.split_at(at)))
        {
            let name = before
                .rsplit(|c: char| c.is_whitespace() || c == '"')
                .next()
                .unwrap();
            assert!(
                ATTRIBUTES.contains(&name) || TEXTS.contains(&name),
                "{name}: add it to ATTRIBUTES"
            );
            assert!(before.ends_with(&format!(" {name}")), "{name} follows a space");
            seen += 1;
        }
        assert!(seen > 50, "{seen}");
    }

    #[test]
    fn addresses_get_the_base_path_and_user_input_does_not() {
        let page = r##"<html data-base="/"><a href="/hosts" title=" href=&#34;/x&#34;">/hosts</a><a href="#main"></a><input value="/hosts">"##;
        let below = r##"<html data-base="/pool/"><a href="/pool/hosts" title=" href=&#34;/x&#34;">/hosts</a><a href="#main"></a><input value="/hosts">"##;
        assert_eq!(with_base("/pool", page), below);
    }
}

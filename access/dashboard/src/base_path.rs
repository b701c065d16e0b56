//! Pages below a path: templates name addresses from the root, and the path is put before all of them here, so that no
//! page can forget it.
//!
//! What is filled into a template has its quotation marks escaped, so these beginnings of attributes are always a
//! template's own.

use crate::site::Site;
use axum::{
    body::{Body, to_bytes},
    extract::Request,
    middleware::Next,
    response::Response,
};
use http::{StatusCode, header};
use std::sync::Arc;

/// The attributes that hold addresses. The script puts the path before those that it makes, by `data-base`.
const ATTRIBUTES: [&str; 5] = ["href", "action", "src", "data-stream", "data-base"];

/// Puts the path before all addresses in a page.
pub(crate) async fn addresses(request: Request, next: Next) -> Response {
    let site = request.extensions().get::<Arc<Site>>().cloned();
    let response = next.run(request).await;
    let kind = response.headers().get(header::CONTENT_TYPE);
    match site {
        Some(site)
            if !site.base.is_empty()
                && kind.is_some_and(|kind| kind.as_bytes().starts_with(b"text/html")) =>
        {
            below(&site.base, response).await
        }
        _ => response,
    }
}

async fn below(base: &str, response: Response) -> Response {
    let (mut parts, body) = response.into_parts();
    // A page is rendered whole before it is sent, so this neither waits nor takes more than it has.
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

    /// Attributes that begin like addresses and are none: forms send them back, and the script knows what to do.
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
            assert!(
                before.ends_with(&format!(" {name}")),
                "{name} stands after a blank"
            );
            seen += 1;
        }
        assert!(seen > 50, "{seen}");
    }

    #[test]
    fn addresses_get_the_path_and_what_people_wrote_does_not() {
        let page = r##"<html data-base="/"><a href="/hosts" title=" href=&#34;/x&#34;">/hosts</a><a href="#main"></a><input value="/hosts">"##;
        let below = r##"<html data-base="/pool/"><a href="/pool/hosts" title=" href=&#34;/x&#34;">/hosts</a><a href="#main"></a><input value="/hosts">"##;
        assert_eq!(with_base("/pool", page), below);
    }
}

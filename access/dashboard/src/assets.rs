//! Stylesheet, script and icons: embedded in the binary, named by content hash, cached by browsers for a
//! year.

use axum::{
    extract::Path,
    response::{IntoResponse, Response},
};
use http::{StatusCode, header};
use sha2::{Digest, Sha256};
use std::sync::LazyLock;

/// One embedded file.
struct Asset {
    name: String,
    kind: &'static str,
    content: &'static str,
}

impl Asset {
    fn new(stem: &str, extension: &str, kind: &'static str, content: &'static str) -> Self {
        let hash = hex::encode(&Sha256::digest(content.as_bytes())[..5]);
        Self {
            name: format!("{stem}.{hash}.{extension}"),
            kind,
            content,
        }
    }
}

static STYLE: LazyLock<Asset> = LazyLock::new(|| {
    Asset::new(
        "chainpool",
        "css",
        "text/css; charset=utf-8",
        include_str!("../static/chainpool.css"),
    )
});
static SCRIPT: LazyLock<Asset> = LazyLock::new(|| {
    Asset::new(
        "chainpool",
        "js",
        "text/javascript; charset=utf-8",
        include_str!("../static/chainpool.js"),
    )
});
static SPRITE: LazyLock<Asset> =
    LazyLock::new(|| Asset::new("icons", "svg", SVG, include_str!("../static/icons.svg")));
static TAB_ICONS: LazyLock<Vec<Asset>> = LazyLock::new(|| {
    vec![
        Asset::new(
            "tab-healthy",
            "svg",
            SVG,
            include_str!("../static/tab-healthy.svg"),
        ),
        Asset::new(
            "tab-degraded",
            "svg",
            SVG,
            include_str!("../static/tab-degraded.svg"),
        ),
        Asset::new("tab-broken", "svg", SVG, include_str!("../static/tab-broken.svg")),
        Asset::new(
            "tab-stopped",
            "svg",
            SVG,
            include_str!("../static/tab-stopped.svg"),
        ),
        Asset::new(
            "tab-unknown",
            "svg",
            SVG,
            include_str!("../static/tab-unknown.svg"),
        ),
        Asset::new(
            "tab-working",
            "svg",
            SVG,
            include_str!("../static/tab-working.svg"),
        ),
    ]
});

const SVG: &str = "image/svg+xml";

/// The address of the stylesheet.
pub(crate) fn style() -> String {
    format!("/static/{}", STYLE.name)
}

/// The address of the script.
pub(crate) fn script() -> String {
    format!("/static/{}", SCRIPT.name)
}

/// The address of the icon sprite.
pub(crate) fn sprite() -> String {
    format!("/static/{}", SPRITE.name)
}

/// The address of the tab icon for an indicator's class.
pub(crate) fn tab_icon(class: &str) -> String {
    let wanted = format!("tab-{class}.");
    let name = TAB_ICONS
        .iter()
        .find(|asset| asset.name.starts_with(&wanted))
        .map_or("", |asset| asset.name.as_str());
    format!("/static/{name}")
}

/// Serves an embedded file. Its name contains the content hash, so it is immutable.
pub(crate) async fn serve(Path(file): Path<String>) -> Response {
    let mut all = [&*STYLE, &*SCRIPT, &*SPRITE].into_iter().chain(TAB_ICONS.iter());
    match all.find(|asset| asset.name == file) {
        Some(asset) => {
            let headers = [
                (header::CONTENT_TYPE, asset.kind),
                (header::CACHE_CONTROL, "public, max-age=31536000, immutable"),
                (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
            ];
            (headers, asset.content).into_response()
        }
        None => (StatusCode::NOT_FOUND, "file not found; reload the page").into_response(),
    }
}

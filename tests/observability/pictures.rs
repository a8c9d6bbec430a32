//! The pictures of the dashboards: that they are of these dashboards, are shown, and stay small. tests/pictures/run draws them.

use std::path::PathBuf;
use std::process::Command;

use crate::{catalogue, files, read, root, stem};

const MOST_BYTES: u64 = 400_000;
const MOST_BYTES_OF_ALL: u64 = 2_000_000;

#[test]
fn pictures_are_of_the_dashboards_as_they_are() {
    let sums = root().join("docs/pictures/dashboards.sha256");
    for dashboard in files("dashboards", "json") {
        assert!(read(&sums).contains(&format!("  dashboards/{}.json\n", stem(&dashboard))), "{dashboard:?}");
    }
    let check =
        Command::new("sha256sum").args(["--check", "--quiet"]).arg(&sums).current_dir(root()).output();
    let check = check.expect("sha256sum, which is Debian's coreutils");
    assert!(
        check.status.success(),
        "{}tests/pictures/run docs/pictures draws them anew",
        String::from_utf8_lossy(&check.stdout)
    );
}

#[test]
fn each_dashboard_has_a_picture_that_is_shown() {
    let pictures = files("docs/pictures", "png");
    let names = |paths: &[PathBuf]| paths.iter().map(|path| stem(path).to_owned()).collect::<Vec<_>>();
    assert_eq!(names(&pictures), names(&files("dashboards", "json")));
    let (readme, page) = (read(&root().join("README.md")), read(&root().join("docs/dashboards.md")));
    let mut all = 0;
    for picture in &pictures {
        let name = stem(picture);
        assert!(readme.contains(&format!("docs/pictures/{name}.png")), "the README does not show {name}");
        assert!(page.contains(&format!("](pictures/{name}.png)")), "docs/dashboards.md does not show {name}");
        let content = std::fs::read(picture).expect("a picture");
        assert!(content.starts_with(b"\x89PNG\r\n\x1a\n"), "{name}");
        assert!(content.len() as u64 <= MOST_BYTES, "{name}: {} bytes", content.len());
        all += content.len() as u64;
    }
    assert!(all <= MOST_BYTES_OF_ALL, "{all} bytes");
}

/// What is drawn is what an agent exports: each metric of the scene is in the catalogue.
#[test]
fn the_scene_has_no_metric_of_its_own() {
    let name = regex::Regex::new(r"put\(['`]([^'`]+)['`]").expect("a pattern");
    let of = regex::Regex::new(r"^\$\{of\}_").expect("a pattern");
    let mut found = 0;
    for file in files("tests/pictures/scene", "js") {
        for metric in name.captures_iter(&read(&file)) {
            let metric = of.replace(&metric[1], "ipvs_real_server_").into_owned();
            // Parts of a histogram, written by its name.
            if metric.starts_with("${") {
                continue;
            }
            found += 1;
            assert!(catalogue::labels(&metric).is_some(), "{}: {metric}", file.display());
        }
    }
    assert!(found > 70, "{found} metrics");
}

//! `/`: what this is and where to look.

/// The page; it needs nothing from anywhere else.
pub(super) fn page(telemetry_path: &str) -> String {
    let version = escape(env!("CARGO_PKG_VERSION"));
    let links: String = [
        (telemetry_path, "metrics"),
        ("/api/v1/status", "status of the virtual servers (JSON)"),
        ("/-/ready", "is it ready"),
        ("/-/healthy", "is it alive"),
    ]
    .into_iter()
    .map(|(path, what)| {
        let path = escape(path);
        format!("<li><a href=\"{path}\">{path}</a> {}</li>\n", escape(what))
    })
    .collect();
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<title>lvs-agent</title>\n\
         <style>body {{ font-family: sans-serif; margin: 2em; }}</style>\n</head>\n<body>\n\
         <h1>lvs-agent</h1>\n<p>Version {version}</p>\n<ul>\n{links}</ul>\n</body>\n</html>\n"
    )
}

/// Text made safe in HTML, in attributes too.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::page;

    #[test]
    fn a_path_cannot_leave_its_link() {
        let page = page("/m\"><script>alert('x')</script>&");
        assert!(!page.contains("<script>"), "{page}");
        let link = "<a href=\"/m&quot;&gt;&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;&amp;\">";
        assert!(page.contains(link), "{page}");
    }
}

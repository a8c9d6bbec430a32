//! OpenMetrics in, Prometheus text format 0.0.4 out, as a stream.
//!
//! The formats differ in their comment lines only: 0.0.4 knows no family name apart from the
//! samples' (so a counter's is `n_total`, an info's `n_info` and a gauge), no `UNIT`, no `EOF`, and
//! says untyped for unknown. Sample lines pass as they are; `_created` lines and exemplars, which
//! 0.0.4 lacks, are never written by the encoder.

use std::fmt;

pub(super) struct Text004<'a> {
    out: &'a mut dyn fmt::Write,
    line: Line,
    /// The comment line being collected, without its newline.
    comment: String,
    /// `name help` of a HELP whose TYPE, and so its final name, is still to come.
    help: Option<String>,
}

enum Line {
    Start,
    Comment,
    Sample,
}

impl<'a> Text004<'a> {
    pub(super) fn new(out: &'a mut dyn fmt::Write) -> Text004<'a> {
        Text004 { out, line: Line::Start, comment: String::new(), help: None }
    }

    /// Writes what is held for lack of a TYPE.
    pub(super) fn finish(mut self) -> fmt::Result {
        if matches!(self.line, Line::Comment) {
            self.end_of_comment()?;
        }
        match self.help.take() {
            Some(help) => writeln!(self.out, "# HELP {help}"),
            None => Ok(()),
        }
    }

    fn end_of_comment(&mut self) -> fmt::Result {
        self.line = Line::Start;
        let comment = std::mem::take(&mut self.comment);
        if let Some(help) = comment.strip_prefix("# HELP ") {
            self.help = Some(help.to_owned());
        } else if let Some(of) = comment.strip_prefix("# TYPE ") {
            let (name, kind) = of.split_once(' ').unwrap_or((of, "unknown"));
            self.describe(name, kind)?;
        }
        // UNIT, EOF and other comments have no meaning in 0.0.4.
        self.comment = comment;
        self.comment.clear();
        Ok(())
    }

    fn describe(&mut self, name: &str, kind: &str) -> fmt::Result {
        let (suffix, kind) = match kind {
            "counter" => ("_total", "counter"),
            "info" => ("_info", "gauge"),
            "unknown" => ("", "untyped"),
            other => ("", other),
        };
        if let Some(help) = self.help.take() {
            let text = help.split_once(' ').map_or("", |(_, text)| text);
            writeln!(self.out, "# HELP {name}{suffix} {text}")?;
        }
        writeln!(self.out, "# TYPE {name}{suffix} {kind}")
    }
}

impl fmt::Write for Text004<'_> {
    fn write_str(&mut self, mut text: &str) -> fmt::Result {
        // By far the most: a piece of a sample, a few bytes long, for which a search is a detour. The
        // encoder ends a line with the end of a piece, and label values have their newlines escaped.
        if matches!(self.line, Line::Sample) && !text.ends_with('\n') {
            debug_assert!(!text.contains('\n'), "a line ends within {text:?}");
            return self.out.write_str(text);
        }
        while !text.is_empty() {
            if matches!(self.line, Line::Start) {
                self.line = if text.starts_with('#') { Line::Comment } else { Line::Sample };
            }
            let end = text.find('\n');
            let (part, rest) = text.split_at(end.map_or(text.len(), |at| at + 1));
            match self.line {
                Line::Comment => {
                    self.comment.push_str(part.trim_end_matches('\n'));
                    if end.is_some() {
                        self.end_of_comment()?;
                    }
                }
                Line::Start | Line::Sample => {
                    self.out.write_str(part)?;
                    if end.is_some() {
                        self.line = Line::Start;
                    }
                }
            }
            text = rest;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use proptest::prelude::*;

    use super::*;

    fn adapted<'a>(chunks: impl IntoIterator<Item = &'a str>) -> String {
        let mut out = String::new();
        let mut adapter = Text004::new(&mut out);
        for chunk in chunks {
            adapter.write_str(chunk).unwrap();
        }
        adapter.finish().unwrap();
        out
    }

    #[test]
    fn each_kind_gets_its_004_form() {
        let open_metrics = "\
# HELP a_bytes Bytes of a (b, c).
# TYPE a_bytes counter
# UNIT a_bytes bytes
a_bytes_total{x=\"# HELP no \\\" comment\"} 1
# HELP b Of b
# TYPE b info
b_info{v=\"1\"} 1
# HELP c What
# TYPE c unknown
c 1
# TYPE d gauge
d 1.5
# HELP e_seconds
# TYPE e_seconds histogram
# UNIT e_seconds seconds
e_seconds_bucket{le=\"+Inf\"} 0
# HELP f No rows
# TYPE f gauge
# EOF
";
        let text_004 = "\
# HELP a_bytes_total Bytes of a (b, c).
# TYPE a_bytes_total counter
a_bytes_total{x=\"# HELP no \\\" comment\"} 1
# HELP b_info Of b
# TYPE b_info gauge
b_info{v=\"1\"} 1
# HELP c What
# TYPE c untyped
c 1
# TYPE d gauge
d 1.5
# HELP e_seconds 
# TYPE e_seconds histogram
e_seconds_bucket{le=\"+Inf\"} 0
# HELP f No rows
# TYPE f gauge
";
        assert_eq!(adapted([open_metrics]), text_004);
    }

    #[test]
    fn a_help_without_a_type_is_not_lost() {
        assert_eq!(adapted(["# HELP a b\n# EOF\n"]), "# HELP a b\n");
        assert_eq!(adapted(["# HELP a b"]), "# HELP a b\n");
    }

    fn line() -> impl Strategy<Value = String> {
        prop_oneof![
            "# HELP [a-z_]{1,8} [^\n]{0,12}",
            "# TYPE [a-z_]{1,8} (counter|gauge|info|histogram|unknown)",
            "# UNIT [a-z_]{1,8} [a-z]{1,8}",
            "[a-z_]{1,8}(\\{[^\n]{0,12}\\})? [0-9]{1,3}",
            "[# ä€😀]{0,4}",
            Just("# EOF".to_owned()),
        ]
    }

    proptest! {
        #[test]
        fn chunks_make_no_difference(
            lines in prop::collection::vec(line(), 0..12),
            ended in any::<bool>(),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..24),
        ) {
            let mut text = lines.join("\n");
            if ended {
                text.push('\n');
            }
            let whole = adapted([text.as_str()]);
            let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(text.len() + 1)).collect();
            at.retain(|at| text.is_char_boundary(*at));
            at.extend([0, text.len()]);
            at.sort_unstable();
            // As the encoder does it: a line ends with the end of a piece.
            let pieces = at.windows(2).flat_map(|pair| text[pair[0]..pair[1]].split_inclusive('\n'));
            prop_assert_eq!(&adapted(pieces), &whole);
            prop_assert_eq!(&adapted(text.split_inclusive(|_: char| true)), &whole);
        }

        #[test]
        fn samples_pass_unchanged(lines in prop::collection::vec(line(), 0..12)) {
            let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
            let samples = |text: &str| {
                text.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect::<Vec<_>>()
            };
            prop_assert_eq!(samples(&adapted([text.as_str()])), samples(&text));
        }
    }
}

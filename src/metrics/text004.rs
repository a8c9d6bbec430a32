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

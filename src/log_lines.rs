//! Many lines with one system call and one look at the clock: a mass failure has thousands of them in one
//! step of the loop.

use std::cell::RefCell;
use std::fmt;
use std::io::{self, Write};

use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};

/// Lines are written at the latest when there are so many bytes of them.
const LIMIT: usize = 64 << 10;

#[derive(Default)]
struct Collected {
    lines: Vec<u8>,
    /// The time that all of them carry.
    time: Option<String>,
}

thread_local! {
    /// `None`: each line goes out by itself.
    static LINES: RefCell<Option<Collected>> = const { RefCell::new(None) };
}

/// Until it is dropped this thread's lines are collected. It must not be held over an await.
#[must_use]
pub struct Together {
    // Stays on its thread.
    _here: std::marker::PhantomData<*const ()>,
}

pub fn together() -> Together {
    LINES.with_borrow_mut(|lines| {
        lines.get_or_insert_default();
    });
    Together { _here: std::marker::PhantomData }
}

impl Drop for Together {
    fn drop(&mut self) {
        let collected = LINES.take().unwrap_or_default();
        // Where even standard error is gone, nothing is left to say it with.
        let _ = io::stderr().write_all(&collected.lines);
    }
}

/// Standard error, or what is collected for it.
pub struct Lines;

impl MakeWriter<'_> for Lines {
    type Writer = Lines;

    fn make_writer(&self) -> Lines {
        Lines
    }
}

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        LINES.with_borrow_mut(|lines| match lines {
            None => io::stderr().write(bytes),
            Some(collected) => {
                collect(&mut collected.lines, bytes, &mut io::stderr())?;
                Ok(bytes.len())
            }
        })
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(()) // a line is out, or waits for those that follow
    }
}

/// The time of a line: what is collected is of one moment, its first line's.
pub struct Moment;

impl FormatTime for Moment {
    fn format_time(&self, out: &mut Writer<'_>) -> fmt::Result {
        LINES.with_borrow_mut(|lines| match lines {
            None => SystemTime.format_time(out),
            Some(Collected { time: Some(time), .. }) => out.write_str(time),
            Some(Collected { time, .. }) => {
                let mut text = String::new();
                SystemTime.format_time(&mut Writer::new(&mut text))?;
                out.write_str(time.insert(text))
            }
        })
    }
}

fn collect(lines: &mut Vec<u8>, bytes: &[u8], out: &mut impl Write) -> io::Result<()> {
    lines.extend_from_slice(bytes);
    if lines.len() < LIMIT {
        return Ok(());
    }
    let written = out.write_all(lines);
    lines.clear();
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_wait_for_each_other_but_not_without_end() {
        let (mut lines, mut out) = (Vec::new(), Vec::new());
        let mut all = Vec::new();
        for n in 0..5000 {
            let line = format!("line {n} of many that one step has\n");
            all.extend_from_slice(line.as_bytes());
            collect(&mut lines, line.as_bytes(), &mut out).unwrap();
            assert!(lines.len() < LIMIT);
        }
        assert!(out.len() > LIMIT && !lines.is_empty());
        out.extend_from_slice(&lines);
        assert_eq!(out, all, "in order, whole, each once");
    }

    #[test]
    fn a_failed_write_loses_its_lines_and_not_the_later_ones() {
        struct Broken;
        impl Write for Broken {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let mut lines = vec![b'x'; LIMIT];
        assert!(collect(&mut lines, b"y\n", &mut Broken).is_err());
        collect(&mut lines, b"z\n", &mut Broken).unwrap();
        assert_eq!(lines, b"z\n");
    }

    #[test]
    fn what_is_collected_is_of_one_moment() {
        let time = || {
            let mut text = String::new();
            Moment.format_time(&mut Writer::new(&mut text)).unwrap();
            text
        };
        let alone = time();
        assert_eq!((alone.len(), &alone[10..11]), ("2026-01-31T23:59:59.123456Z".len(), "T"));
        let together = together();
        let first = time();
        assert_eq!(time(), first);
        drop(together);
        while time() == first {}
    }

    #[test]
    fn only_the_thread_that_asked_for_it_collects() {
        let together = together();
        Lines.write_all(b"").unwrap();
        assert!(LINES.with_borrow(Option::is_some));
        std::thread::spawn(|| assert!(LINES.with_borrow(Option::is_none))).join().unwrap();
        drop(together);
        assert!(LINES.with_borrow(Option::is_none));
    }
}

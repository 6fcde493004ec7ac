//! What is said of a guest that died, and of one that did not.

mod common;

use std::path::Path;

use common::{CHATTER, DIE, HALT, SPIN, Scratch, bare, elf, finish, kvm, long, stderr, strata};
use serde_json::Value;

/// The report of a run.
fn report(path: &Path) -> Value {
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

#[test]
fn a_triple_fault_is_explained_and_said_once() {
    if !kvm("a triple fault") {
        return;
    }
    let scratch = Scratch::new("explained");
    let image = scratch.file("die.bin", DIE);
    let output = finish(&mut long(&image));
    let said = stderr(&output);
    assert_eq!(output.status.code(), Some(14), "{said}");
    let begin = "strata: the guest died of a triple fault\n  #UD at 0x100007: the instruction is ud2";
    assert!(said.starts_with(begin), "{said}");
    assert_eq!(said.matches("died").count(), 1, "{said}");
    let parts = [
        "\n  delivering #UD failed: IDT entry 6",
        ": triple fault\n",
        "\n  look at: ",
        "\nits last exits:\n",
    ];
    for part in parts {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert!(said.contains("out 0x3f8 <- '!' com1.thr"), "{said}");
    assert!(!said.contains('\u{1b}'), "colours into a pipe: {said}");
}

#[test]
fn nothing_is_said_to_whoever_wants_it_quiet() {
    if !kvm("a quiet death") {
        return;
    }
    let scratch = Scratch::new("quiet-death");
    let image = scratch.file("die.bin", DIE);
    let output = finish(long(&image).arg("--quiet"));
    assert_eq!((output.status.code(), stderr(&output).as_str()), (Some(14), ""));
    let output = finish(long(&image).arg("--no-recorder"));
    assert_eq!((output.status.code(), stderr(&output).as_str()), (Some(14), "strata: triple fault\n"));
}

#[test]
fn a_report_has_the_explanation_and_the_last_exits() {
    if !kvm("the report on a death") {
        return;
    }
    let scratch = Scratch::new("death-report");
    let image = scratch.file("die.bin", DIE);
    let path = scratch.path("report.json");
    let run = |more: &[&str]| {
        assert_eq!(finish(long(&image).arg("--report").arg(&path).args(more)).status.code(), Some(14));
        report(&path)
    };
    let found = run(&["--quiet"]);
    assert_eq!((&found["accused"], &found["text"]), (&Value::Bool(true), &"triple fault".into()), "{found}");
    let explanation = found["explanation"].as_str().unwrap();
    assert!(explanation.starts_with("the guest died of a triple fault\n  #UD at 0x100007"), "{explanation}");
    let exits = found["last_exits"].as_array().unwrap();
    assert_eq!(exits.len(), 2, "{found}");
    assert!(exits[0].as_str().unwrap().contains("out 0x3f8 <- '!' com1.thr"), "{found}");
    assert!(exits[1].as_str().unwrap().contains("shutdown"), "{found}");
    // All of them, however many are shown.
    assert_eq!(run(&["--last-exits", "0"])["last_exits"].as_array().unwrap().len(), 2);
    let found = run(&["--no-recorder"]);
    assert_eq!(found["accused"], false);
    assert!(found.get("explanation").is_none() && found.get("last_exits").is_none(), "{found}");
}

#[test]
fn of_a_good_end_no_more_is_said_than_that() {
    if !kvm("good ends") {
        return;
    }
    let scratch = Scratch::new("good-ends");
    let path = scratch.path("report.json");
    // mov al, 0x10; out 0xf4, al; hlt
    let exit: &[u8] = b"\xb0\x10\xe6\xf4\xf4";
    for (code, arguments, ends, said) in [
        (HALT, &[][..], 10, "strata: halted\n"),
        (exit, &["--debug-exit", "0xf4"], 33, "strata: debug exit with value 0x10\n"),
    ] {
        let image = scratch.file("good.bin", code);
        let output = finish(strata(&image).args(arguments).arg("--report").arg(&path));
        assert_eq!((output.status.code(), stderr(&output).as_str()), (Some(ends), said));
        let found = report(&path);
        assert_eq!(found["accused"], false);
        assert!(found.get("explanation").is_none() && found.get("last_exits").is_none(), "{found}");
    }
    // mov dx, 0x600; mov al, 5 << 2 | 0x20; out dx, al; hlt: ACPI's sleep control register.
    let image = scratch.file("off.bin", b"\xba\x00\x06\xb0\x34\xee\xf4");
    let mut run = strata(&image);
    run.args(["--memory", "2M", "--irqchip", "kernel", "--set", "acpi=true"]);
    let output = finish(&mut run);
    assert_eq!((output.status.code(), stderr(&output).as_str()), (Some(0), "strata: powered off\n"));
}

#[test]
fn a_guest_that_sleeps_for_nothing_is_told_so() {
    if !kvm("an endless sleep") {
        return;
    }
    let scratch = Scratch::new("sleeps");
    // sti; hlt
    let image = scratch.file("sleep.bin", b"\xfb\xf4");
    let output = finish(&mut long(&image));
    let begin =
        "strata: halted: the guest sleeps for an interrupt, and nothing can send one\n  hlt at 0x100001";
    assert_eq!(output.status.code(), Some(10));
    assert!(stderr(&output).starts_with(begin), "{}", stderr(&output));
}

#[test]
fn as_many_last_exits_are_shown_as_are_asked_for() {
    if !kvm("--last-exits") {
        return;
    }
    let scratch = Scratch::new("last-exits");
    // mov dx, 0x3f8; mov al, 0; next: out dx, al; inc al; jmp next
    let image = scratch.file("count.bin", b"\x66\xba\xf8\x03\xb0\x00\xee\xfe\xc0\xeb\xfb");
    let shown = |asked: &[&str]| {
        let output = finish(long(&image).args(["--budget-exits", "300"]).args(asked));
        assert_eq!(output.status.code(), Some(18), "{}", stderr(&output));
        stderr(&output).lines().filter(|line| line.contains("out 0x3f8 <- ")).count()
    };
    assert_eq!(shown(&[]), 12);
    assert_eq!(shown(&["--last-exits", "3"]), 3);
    assert_eq!(shown(&["--last-exits", "0"]), 0);
    assert_eq!(shown(&["--last-exits", "256"]), 256);
    assert_eq!(shown(&["--last-exits", "1000"]), 256);
    let output = finish(long(&image).args(["--last-exits", "many"]));
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("many"), "{}", stderr(&output));
}

#[test]
fn a_budget_says_where_the_guest_was() {
    if !kvm("budgets that are explained") {
        return;
    }
    let scratch = Scratch::new("where");
    // cli; jmp $
    let image = scratch.file("spin.bin", [b"\xfa", SPIN].concat());
    let output = finish(long(&image).args(["--budget-wall", "200ms"]));
    let said = stderr(&output);
    assert!(said.starts_with("strata: time budget of 200ms used up\n  it spins "), "{said}");
    // What only prints is not accused of anything.
    let image = scratch.file("chatter.bin", CHATTER);
    let path = scratch.path("report.json");
    let output = finish(strata(&image).args(["--budget-exits", "5"]).arg("--report").arg(&path));
    assert_eq!(output.status.code(), Some(18));
    assert_eq!(report(&path)["accused"], false);
}

#[test]
fn symbols_are_the_images_own_or_those_of_a_file() {
    if !kvm("symbols") {
        return;
    }
    let scratch = Scratch::new("symbols");
    let image = scratch.file("kernel.elf", elf::with_symbols(DIE, "kmain", None));
    let run = |image: &Path, more: &[&str]| finish(bare().arg("run").arg(image).args(more));
    let said = stderr(&run(&image, &[]));
    assert!(said.contains("\n  #UD at kmain+0x7 (0x20007f): "), "{said}");
    let map = scratch.file("System.map", format!("{:016x} T other\n", elf::CODE));
    let said = stderr(&run(&image, &["--symbols", map.to_str().unwrap()]));
    assert!(said.contains("\n  #UD at other+0x7 (0x20007f): "), "{said}");

    // An image whose symbols are damaged does without.
    let image = scratch.file("damaged.elf", elf::with_symbols(DIE, "kmain", Some(1 << 40)));
    let output = run(&image, &[]);
    assert_eq!(output.status.code(), Some(14), "{}", stderr(&output));
    assert!(stderr(&output).contains("\n  #UD at 0x20007f: "), "{}", stderr(&output));
    let output = run(&image, &["--trace"]);
    assert_eq!(output.status.code(), Some(14), "{}", stderr(&output));
    let said = stderr(&output);
    assert!(said.starts_with("strata: going on without symbols: cannot read symbols of "), "{said}");
    assert_eq!(stderr(&run(&image, &["--trace=/dev/null", "--quiet"])), "");
}

#[test]
fn a_file_that_was_named_for_its_symbols_has_to_have_some() {
    let scratch = Scratch::new("no-symbols");
    let image = scratch.file("halt.bin", HALT);
    let report = scratch.file("report.json", "kept");
    let run = |symbols: &Path| {
        let output = finish(strata(&image).arg("--symbols").arg(symbols).arg("--report").arg(&report));
        assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
        assert!(output.stdout.is_empty());
        stderr(&output)
    };
    if !kvm("--symbols") {
        return;
    }
    assert!(run(&scratch.path("absent")).contains("absent: No such file"));
    assert!(run(&scratch.path("")).contains("is no regular file"));
    for (name, content) in [
        ("text", b"nothing of that kind\n".to_vec()),
        ("empty", Vec::new()),
        ("corrupt", elf::with_symbols(HALT, "kmain", Some(1 << 40))),
        ("short", b"\x7fELF".to_vec()),
        ("noise", (0..=255).cycle().take(5000).collect()),
    ] {
        let said = run(&scratch.file(name, content));
        assert!(
            said.contains(name) && said.contains("symbol") && !said.contains("panicked"),
            "{name}: {said}"
        );
        assert_eq!(said.lines().count(), 1, "{said}");
    }
    // Of a run that was refused nothing is begun.
    assert_eq!(std::fs::read_to_string(report).unwrap(), "kept");
}

use super::*;

/// As mmdebstrap prints it, shortened.
const PRINTED: &str = "\
I: automatically chosen mode: root
I: running apt-get update...
Get:1 http://a.example/debian bookworm InRelease [151 kB]
I: downloading packages with apt...
0 upgraded, 2 newly installed, 0 to remove and 0 not upgraded.
Get:1 http://a.example/debian bookworm/main amd64 gcc-12-base amd64 12.2.0-14 [37.6 kB]
Get:2 http://a.example/debian bookworm/main amd64 libc6 amd64 2.36-9 [2759 kB]
I: extracting archives...
I: installing essential packages...
Unpacking gcc-12-base:amd64 (12.2.0-14) ...
Setting up gcc-12-base:amd64 (12.2.0-14) ...
Unpacking libc6:amd64 (2.36-9) ...
Setting up libc6:amd64 (2.36-9) ...
I: installing remaining packages inside the chroot...
0 upgraded, 1 newly installed, 0 to remove and 0 not upgraded.
Get:1 http://a.example/debian bookworm/main amd64 udev amd64 252.39-1 [1 kB]
Unpacking udev (252.39-1) ...
Setting up udev (252.39-1) ...
update-initramfs: Generating /boot/initrd.img-6.1
strata: setting up the system
strata: looking into /boot/initrd.img-6.1
strata: writing the disk
I: cleaning package lists and apt cache...
I: success in 30.0130 seconds
";

#[test]
fn it_only_goes_forward_and_through_all_phases() {
    let mut progress = Progress::default();
    let mut percents = Vec::new();
    let mut phases = 0;
    for line in PRINTED.lines() {
        phases += usize::from(progress.line(line));
        percents.push(progress.percent());
    }
    assert!(percents.is_sorted(), "{percents:?}");
    assert_eq!((phases, percents.last()), (PHASES.len() - 1, Some(&99)));
}

#[test]
fn packages_count_within_a_phase() {
    let mut progress = Progress::default();
    let mut at = |end: &str| {
        progress = Progress::default();
        for line in PRINTED.lines() {
            progress.line(line);
            if line.starts_with(end) {
                break;
            }
        }
        (progress.percent(), progress.package.clone())
    };
    assert_eq!(at("Get:1 http://a.example/debian bookworm/main"), (15, "gcc-12-base".into()));
    assert_eq!(at("Unpacking libc6"), (42, "libc6".into()));
    assert_eq!(at("Setting up udev"), (70, "udev".into()));
}

#[test]
fn a_later_phase_is_found_even_if_others_were_left_out() {
    let mut progress = Progress::default();
    assert!(progress.line("strata: writing the disk"));
    assert_eq!(progress.percent(), 97);
    // What belongs to an earlier one changes nothing.
    assert!(!progress.line("I: running apt-get update..."));
    assert_eq!(progress.what(), "writing the disk");
}

#[test]
fn the_bar_fits_into_a_line() {
    let mut progress = Progress::default();
    progress.line("I: downloading packages");
    progress.line("0 upgraded, 2 newly installed");
    progress.line(&format!("Get:1 http://a.example x amd64 {}", "x".repeat(200)));
    let bar = progress.bar();
    assert!(bar.len() < 80 && bar.starts_with("debian: [====   "), "{bar}");
    assert!(bar.contains("]  15 %  fetching the base system: x"), "{bar}");
}

// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

use proptest::prelude::*;

use super::*;

/// What the tests do to the controllers, and what they expect.
#[derive(Clone, Copy, Debug)]
enum Step {
    Write(u16, u8),
    Read(u16, u8),
    Raise(u8),
    Lower(u8),
    /// INTR is low.
    Quiet,
    /// An acknowledgement gives this vector.
    Vector(u8),
}

use Step::*;

const EOI: u8 = 0x20;
const READ_REQUESTS: u8 = 0x0a;
const READ_IN_SERVICE: u8 = 0x0b;

fn initialise(pics: &mut Pics, icw4: [u8; 2]) {
    for (command, vectors, wiring, icw4) in [(0x20, 0x20, 4, icw4[0]), (0xa0, 0x28, 2, icw4[1])] {
        pics.write(command, 0x11);
        for word in [vectors, wiring, icw4] {
            pics.write(command + 1, word);
        }
    }
}

/// With vectors 0x20 to 0x2f, and ICW4s.
fn initialised(icw4: [u8; 2]) -> Pics {
    let mut pics = Pics::new();
    initialise(&mut pics, icw4);
    pics
}

fn run(pics: &mut Pics, name: &str, steps: &[Step]) {
    for (at, &step) in steps.iter().enumerate() {
        let place = format!("{name}, step {at}: {step:x?}");
        match step {
            Write(port, value) => pics.write(port, value),
            Read(port, expected) => assert_eq!(pics.read(port), expected, "{place}"),
            Raise(line) => pics.set_line(line, true),
            Lower(line) => pics.set_line(line, false),
            Quiet => assert_eq!(
                (pics.is_pending(), pics.pending()),
                (false, None),
                "{place}"
            ),
            Vector(expected) => {
                assert!(pics.is_pending(), "{place}");
                assert_eq!(pics.pending(), Some(expected), "{place}");
                assert_eq!(pics.acknowledge(), expected, "{place}");
            }
        }
    }
}

#[test]
fn fully_nested() {
    let cases: &[(&str, &[Step])] = &[
        (
            "an edge is one interrupt",
            &[
                Raise(4),
                Vector(0x24),
                Quiet,
                Write(0x20, EOI),
                Quiet,
                Raise(4),
                Quiet,
            ],
        ),
        (
            "a pulse is remembered",
            &[Raise(4), Lower(4), Vector(0x24), Write(0x20, EOI), Quiet],
        ),
        (
            "higher priorities come between",
            &[
                Raise(5),
                Vector(0x25),
                Raise(6),
                Quiet,
                Raise(1),
                Vector(0x21),
                Write(0x20, READ_IN_SERVICE),
                Read(0x20, 0b10_0010),
                Write(0x20, READ_REQUESTS),
                Read(0x20, 0b100_0000),
                Write(0x20, EOI),
                Quiet,
                Write(0x20, EOI),
                Vector(0x26),
            ],
        ),
        (
            "the mask",
            &[
                Write(0x21, 1 << 3),
                Raise(3),
                Quiet,
                Read(0x21, 1 << 3),
                Read(0x20, 1 << 3),
                Write(0x21, 0),
                Vector(0x23),
            ],
        ),
        (
            "the slave is in service in both",
            &[
                Raise(14),
                Vector(0x2e),
                Write(0xa0, READ_IN_SERVICE),
                Read(0xa0, 1 << 6),
                Write(0x20, READ_IN_SERVICE),
                Read(0x20, 1 << 2),
                Raise(8),
                Quiet,
                Write(0x20, EOI),
                Vector(0x28),
                Write(0xa0, EOI),
                Read(0xa0, 1 << 6),
                Write(0xa0, EOI),
                Read(0xa0, 0),
            ],
        ),
        (
            "the slave's lines come between the master's",
            &[
                Raise(3),
                Raise(15),
                Raise(1),
                Vector(0x21),
                Write(0x20, EOI),
                Vector(0x2f),
            ],
        ),
        (
            "the cascade is no line, nor is what is not there",
            &[Raise(2), Raise(16), Raise(0xff), Quiet],
        ),
        (
            "a specific end",
            &[
                Raise(6),
                Vector(0x26),
                Raise(1),
                Vector(0x21),
                Write(0x20, 0x66),
                Write(0x20, READ_IN_SERVICE),
                Read(0x20, 1 << 1),
            ],
        ),
        (
            "a request that the slave takes back",
            &[
                Raise(10),
                Write(0xa1, 0xff),
                Vector(0x2f),
                Write(0xa0, READ_IN_SERVICE),
                Read(0xa0, 0),
                Write(0x20, READ_IN_SERVICE),
                Read(0x20, 1 << 2),
            ],
        ),
    ];
    for (name, steps) in cases {
        run(&mut initialised([1, 1]), name, steps);
    }
}

#[test]
fn level_triggered_lines() {
    let cases: &[(&str, &[Step])] = &[
        (
            "what can be chosen",
            &[
                Write(0x4d0, 0xff),
                Write(0x4d1, 0xff),
                Read(0x4d0, 0xf8),
                Read(0x4d1, 0xde),
            ],
        ),
        (
            "a level is as many interrupts as there are ends",
            &[
                Write(0x4d0, 0x20),
                Raise(5),
                Vector(0x25),
                Quiet,
                Write(0x20, EOI),
                Vector(0x25),
                Lower(5),
                Write(0x20, EOI),
                Quiet,
            ],
        ),
        (
            "a level that falls is no request",
            &[Write(0x4d0, 0x20), Raise(5), Lower(5), Quiet, Read(0x20, 0)],
        ),
        (
            "the slave's",
            &[
                Write(0x4d1, 0x02),
                Raise(9),
                Vector(0x29),
                Write(0x20, EOI),
                Quiet,
                Write(0xa0, EOI),
                Vector(0x29),
                Lower(9),
                Write(0xa0, EOI),
                Write(0x20, EOI),
                Quiet,
            ],
        ),
        (
            "a choice forgets the edge, and outlives an initialisation",
            &[
                Raise(5),
                Lower(5),
                Write(0x4d0, 0x20),
                Quiet,
                Raise(5),
                Write(0x20, 0x12),
                Quiet,
                Write(0x21, 0x40),
                Vector(0x45),
            ],
        ),
    ];
    for (name, steps) in cases {
        run(&mut initialised([1, 1]), name, steps);
    }
}

#[test]
fn rotation() {
    let cases: &[(&str, &[Step])] = &[
        (
            "by a command",
            &[Write(0x20, 0xc3), Raise(0), Raise(4), Vector(0x24), Quiet],
        ),
        (
            "with an end",
            &[
                Raise(0),
                Vector(0x20),
                Write(0x20, 0xa0),
                Lower(0),
                Raise(0),
                Raise(7),
                Vector(0x27),
            ],
        ),
        (
            "with an end of nothing",
            &[Write(0x20, 0xa0), Raise(0), Raise(7), Vector(0x20)],
        ),
        (
            "with an end that names its level",
            &[
                Raise(4),
                Vector(0x24),
                Write(0x20, 0xe4),
                Raise(3),
                Raise(5),
                Vector(0x25),
            ],
        ),
    ];
    for (name, steps) in cases {
        run(&mut initialised([1, 1]), name, steps);
    }
}

#[test]
fn automatic_ends() {
    let cases: &[(&str, &[Step])] = &[
        (
            "nothing is in service",
            &[
                Raise(1),
                Raise(9),
                Raise(12),
                Vector(0x21),
                Vector(0x29),
                Vector(0x2c),
                Quiet,
                Write(0x20, READ_IN_SERVICE),
                Read(0x20, 0),
            ],
        ),
        (
            "with rotation",
            &[
                Write(0x20, 0x80),
                Raise(1),
                Vector(0x21),
                Lower(1),
                Raise(1),
                Raise(7),
                Vector(0x27),
                Write(0x20, 0),
                Raise(0),
                Vector(0x20),
                Lower(0),
                Raise(0),
                Vector(0x20),
                Vector(0x21),
            ],
        ),
    ];
    for (name, steps) in cases {
        run(&mut initialised([3, 3]), name, steps);
    }
}

#[test]
fn special_modes() {
    let special_mask: &[Step] = &[
        Raise(3),
        Vector(0x23),
        Raise(6),
        Write(0x21, 1 << 3),
        Quiet,
        Write(0x20, 0x68),
        Vector(0x26),
        // An end that names no level passes over what is masked.
        Write(0x20, EOI),
        Write(0x20, READ_IN_SERVICE),
        Read(0x20, 1 << 3),
        Write(0x20, 0x48),
        Write(0x20, EOI),
        Read(0x20, 0),
    ];
    run(&mut initialised([1, 1]), "special mask", special_mask);
    let nested: &[Step] = &[
        Raise(12),
        Vector(0x2c),
        Raise(13),
        Raise(3),
        Quiet,
        Raise(9),
        Vector(0x29),
        Write(0xa0, EOI),
        Quiet,
        Write(0xa0, EOI),
        Vector(0x2d),
    ];
    run(&mut initialised([0x11, 1]), "special fully nested", nested);
}

#[test]
fn polls_acknowledge() {
    let steps: &[Step] = &[
        Write(0x20, 0x0c),
        Read(0x20, 0x07),
        Raise(4),
        Write(0x20, 0x0c),
        Read(0x21, 0x84),
        Read(0x21, 0),
        Write(0x20, READ_IN_SERVICE),
        Read(0x20, 1 << 4),
        Write(0x20, EOI),
        Raise(9),
        Write(0x20, 0x0c),
        Read(0x20, 0x82),
        Write(0xa0, 0x0c),
        Read(0xa0, 0x81),
        Write(0xa0, EOI),
        Write(0x20, EOI),
        Quiet,
    ];
    run(&mut initialised([1, 1]), "polls", steps);
}

#[test]
fn initialisation() {
    let cases: &[(&str, &[Step])] = &[
        (
            "none at all",
            &[
                Quiet,
                Raise(4),
                Vector(4),
                Write(0x20, EOI),
                Read(0x21, 0),
                Write(0x21, 0xfb),
                Read(0x21, 0xfb),
            ],
        ),
        (
            "is quiet until it ends, and forgets",
            &[
                Write(0x21, 0xff),
                Raise(3),
                Write(0x20, 0x11),
                Write(0x21, 0x47),
                Raise(5),
                Quiet,
                Write(0x21, 4),
                Quiet,
                Write(0x21, 1),
                Read(0x21, 0),
                Vector(0x45),
                Write(0x20, EOI),
                Quiet,
            ],
        ),
        (
            "a single chip, without ICW4",
            &[
                Write(0x20, 0x12),
                Write(0x21, 0x50),
                Write(0x21, 0xfe),
                Read(0x21, 0xfe),
            ],
        ),
        (
            "a cascade, without ICW4",
            &[
                Write(0x20, 0x10),
                Write(0x21, 0x50),
                Write(0x21, 4),
                Write(0x21, 1),
                Read(0x21, 1),
            ],
        ),
        (
            "of the slave takes its request back",
            &[Raise(9), Write(0xa0, 0x11), Quiet, Read(0x20, 0)],
        ),
        (
            "of the master does not lose the slave's request",
            &[Raise(9), Write(0x20, 0x12), Write(0x21, 0x20), Vector(1)],
        ),
        (
            "no such port",
            &[Write(0x22, 0x11), Read(0x22, 0xff), Raise(0), Vector(0)],
        ),
    ];
    for (name, steps) in cases {
        run(&mut Pics::new(), name, steps);
    }
}

#[test]
fn an_acknowledgement_of_nothing_is_line_7() {
    let mut pics = initialised([1, 1]);
    assert_eq!(pics.acknowledge(), 0x27);
    pics.write(0x20, READ_IN_SERVICE);
    assert_eq!(pics.read(0x20), 0);
}

#[derive(Clone, Debug)]
enum Any {
    Read(u16),
    Write(u16, u8),
    Line(u8, bool),
    Acknowledge,
}

fn any_step() -> impl Strategy<Value = Any> {
    let port = || prop::sample::select(vec![0x20_u16, 0x21, 0xa0, 0xa1, 0x4d0, 0x4d1, 0x80]);
    prop_oneof![
        port().prop_map(Any::Read),
        (port(), any::<u8>()).prop_map(|(port, value)| Any::Write(port, value)),
        (any::<u8>(), any::<bool>()).prop_map(|(line, high)| Any::Line(line, high)),
        (0..16_u8, any::<bool>()).prop_map(|(line, high)| Any::Line(line, high)),
        Just(Any::Acknowledge),
    ]
}

/// Fixed priorities, edges and ends that name no level, written down once more.
#[derive(Default)]
struct Model {
    requests: u16,
    in_service: Vec<u8>,
}

impl Model {
    /// The place of a line in the order of priorities.
    fn rank(line: u8) -> u8 {
        match line {
            0 | 1 => line,
            8.. => line - 6,
            _ => line + 8,
        }
    }

    /// Which lines the master holds for one.
    fn group(line: u8) -> u8 {
        if line < 8 { line } else { 2 }
    }

    fn pending(&self) -> Option<u8> {
        let first = (0..16)
            .filter(|line| self.requests & 1 << line != 0)
            .min_by_key(|&line| Self::rank(line))?;
        self.in_service
            .iter()
            .all(|&served| {
                Self::rank(first) < Self::rank(served) && Self::group(first) != Self::group(served)
            })
            .then_some(first)
    }
}

proptest! {
    #[test]
    fn pending_is_what_an_acknowledgement_gives(
        initialise_first: bool,
        steps in prop::collection::vec(any_step(), 0..200),
    ) {
        let mut pics = Pics::new();
        if initialise_first {
            initialise(&mut pics, [1, 1]);
        }
        for step in steps {
            match step {
                Any::Read(port) => {
                    pics.read(port);
                }
                Any::Write(port, value) => pics.write(port, value),
                Any::Line(line, high) => pics.set_line(line, high),
                Any::Acknowledge => {
                    pics.acknowledge();
                }
            }
            let pending = pics.pending();
            prop_assert_eq!(pending.is_some(), pics.is_pending());
            if let Some(vector) = pending {
                prop_assert_eq!(pics.clone().acknowledge(), vector);
            }
            // Nobody changes what he only looks at.
            prop_assert_eq!(pics.pending(), pending);
        }
    }

    #[test]
    fn fixed_priorities_are_the_models(
        steps in prop::collection::vec(prop_oneof![(0..16_u8).prop_map(Some), Just(None)], 0..200),
    ) {
        let mut pics = initialised([1, 1]);
        let mut model = Model::default();
        for step in steps {
            match step {
                Some(2) => {}
                Some(line) => {
                    pics.set_line(line, true);
                    pics.set_line(line, false);
                    model.requests |= 1 << line;
                }
                None => {
                    // What is in service ends where nothing can come between.
                    if let Some(line) = model.pending() {
                        prop_assert_eq!(pics.acknowledge(), 0x20 + line);
                        model.requests &= !(1 << line);
                        model.in_service.push(line);
                    } else if let Some(ended) = model.in_service.pop() {
                        if ended >= 8 {
                            pics.write(0xa0, EOI);
                        }
                        pics.write(0x20, EOI);
                    }
                }
            }
            prop_assert_eq!(pics.pending(), model.pending().map(|line| 0x20 + line));
        }
    }
}

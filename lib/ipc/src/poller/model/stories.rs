//! Stories that the hand-over has to survive.

use std::sync::Arc;

use abi::Duration;
use shuttle::scheduler::{PctScheduler, RandomScheduler};
use shuttle::thread::{self, JoinHandle};
use shuttle::{Config, MaxSteps, Runner};

use super::kernel::Packet;
use super::{MEMORY, Model, SOCKET, play};

/// Runs a story in many orders: at random, and with few changes of thread at awkward places.
fn explore(story: impl Fn() + Send + Sync + Clone + 'static) {
    let mut config = Config::new();
    config.max_steps = MaxSteps::FailAfter(STEPS_MAX);
    Runner::new(RandomScheduler::new(ORDERS), config.clone()).run(story.clone());
    for depth in [2, 4, 8] {
        let scheduler = PctScheduler::new(depth, ORDERS / 4);
        Runner::new(scheduler, config.clone()).run(story.clone());
    }
}

fn spawn(model: &Arc<Model>, act: impl FnOnce(&Arc<Model>) + Send + 'static) -> JoinHandle<()> {
    let model = Arc::clone(model);
    thread::spawn(move || act(&model))
}

#[test]
fn every_caller_gets_its_answer_over_a_socket() {
    explore(|| {
        play(|model| {
            let call = |model: &Arc<Model>| {
                model.call(SOCKET);
                model.call(SOCKET);
            };
            (0..3).map(|_| spawn(model, call)).collect()
        });
    });
}

#[test]
fn every_caller_gets_its_answer_over_shared_memory() {
    explore(|| {
        play(|model| {
            let call = |model: &Arc<Model>| {
                model.call(MEMORY);
                model.call(MEMORY);
            };
            (0..3).map(|_| spawn(model, call)).collect()
        });
    });
}

#[test]
fn callers_and_receivers_share_the_role() {
    explore(|| {
        play(|model| {
            let receiver = |model: &Arc<Model>| assert!(model.receive());
            vec![
                spawn(model, receiver),
                spawn(model, receiver),
                spawn(model, |model| {
                    model.call(SOCKET);
                    model.post();
                    model.call(MEMORY);
                }),
                spawn(model, |model| {
                    model.call(MEMORY);
                    model.kernel.deliver(SOCKET, Packet::Item);
                }),
            ]
        });
    });
}

#[test]
fn a_message_wakes_a_receiver_whoever_takes_it_in() {
    explore(|| {
        play(|model| {
            let receiver = |model: &Arc<Model>| assert!(model.receive());
            model.kernel.deliver(MEMORY, Packet::Item);
            let mut threads: Vec<_> = (0..3).map(|_| spawn(model, receiver)).collect();
            threads.push(spawn(model, |model| {
                model.kernel.deliver(SOCKET, Packet::Item);
                model.kernel.deliver(MEMORY, Packet::Item);
            }));
            threads
        });
    });
}

#[test]
fn a_timer_that_somebody_else_sets_wakes_the_sleeper() {
    explore(|| {
        play(|model| {
            vec![
                spawn(model, |model| {
                    model.call_until_timer(Duration::from_millis(5))
                }),
                spawn(model, |model| model.call(MEMORY)),
            ]
        });
    });
}

#[test]
fn receivers_are_woken_while_another_thread_keeps_the_role() {
    explore(|| {
        play(|model| {
            let receiver = |model: &Arc<Model>| assert!(model.receive());
            let receivers = vec![spawn(model, receiver), spawn(model, receiver)];
            vec![
                spawn(model, |model| {
                    model.call_that_takes(Duration::default(), receivers);
                }),
                spawn(model, |model| {
                    model.kernel.deliver(SOCKET, Packet::Item);
                    model.post();
                }),
            ]
        });
    });
}

#[test]
fn a_follower_gets_the_role_although_the_helper_slept() {
    explore(|| {
        play(|model| {
            let first = spawn(model, |model| {
                model.call_that_takes(Duration::from_millis(10), Vec::new());
            });
            vec![spawn(model, |model| {
                model.call_that_takes(Duration::from_millis(10), vec![first]);
            })]
        });
    });
}

#[test]
fn callers_get_their_answers_while_others_wait_for_long() {
    explore(|| {
        play(|model| {
            let long = |model: &Arc<Model>| {
                model.call_that_takes(Duration::from_millis(12), Vec::new());
            };
            let call = |model: &Arc<Model>| {
                model.kernel.sleep(Duration::from_millis(6));
                model.call(SOCKET);
                model.call(MEMORY);
            };
            let vain = |model: &Arc<Model>| model.call_in_vain(Duration::from_millis(8));
            vec![
                spawn(model, long),
                spawn(model, vain),
                spawn(model, call),
                spawn(model, |model| assert!(model.receive())),
                spawn(model, |model| {
                    model.kernel.sleep(Duration::from_millis(7));
                    model.post();
                }),
            ]
        });
    });
}

/// The helper would take too many steps if it did not sleep.
#[test]
fn a_daemon_that_is_gone_for_long_is_reached_again_by_a_helper_that_sleeps() {
    explore(|| {
        play(|model| {
            vec![spawn(model, |model| {
                model.call_without_daemon(Duration::from_millis(1_500));
            })]
        });
    });
}

/// Its answer comes when another thread has seen that.
#[test]
fn a_caller_that_waits_for_long_leaves_the_role() {
    explore(|| {
        play(|model| {
            let other = spawn(model, |model| {
                while model.is_polled_by_a_thread() {
                    model.call(SOCKET);
                    model.kernel.sleep(Duration::from_millis(1));
                }
            });
            vec![spawn(model, |model| {
                model.call_that_takes(Duration::ZERO, vec![other]);
            })]
        });
    });
}

#[test]
fn an_interrupt_reaches_whoever_waits() {
    explore(|| {
        play(|model| {
            let interrupted = spawn(model, Model::call_until_interrupted);
            vec![
                spawn(model, |model| {
                    model.call_that_takes(Duration::from_millis(4), vec![interrupted]);
                }),
                spawn(model, |model| model.call(MEMORY)),
            ]
        });
    });
}

#[test]
fn a_deadline_ends_a_call_that_nobody_answers() {
    explore(|| {
        play(|model| {
            vec![
                spawn(model, |model| model.call_in_vain(Duration::from_millis(3))),
                spawn(model, |model| {
                    model.call(SOCKET);
                    model.call(SOCKET);
                }),
                spawn(model, |model| model.call_in_vain(Duration::from_micros(40))),
            ]
        });
    });
}

#[test]
fn the_end_of_the_endpoint_reaches_every_receiver() {
    explore(|| {
        play(|model| {
            let receivers: Vec<_> = (0..2)
                .map(|_| {
                    spawn(model, |model| {
                        model.receive();
                    })
                })
                .collect();
            let mut threads = vec![spawn(model, |model| {
                model.call(SOCKET);
                model.close();
            })];
            threads.extend(receivers);
            threads
        });
    });
}

#[test]
fn what_is_kept_back_leaves_when_a_thread_waits() {
    explore(|| {
        play(|model| {
            let pauses = [Duration::ZERO, Duration::from_micros(90)];
            let mut threads: Vec<_> = [SOCKET, MEMORY]
                .into_iter()
                .zip(pauses)
                .map(|(link, pause)| {
                    spawn(model, move |model| {
                        model.call_later(link, pause);
                        model.call_later(link, Duration::ZERO);
                    })
                })
                .collect();
            threads.push(spawn(model, |model| model.call(SOCKET)));
            threads
        });
    });
}

#[test]
fn what_callers_keep_back_for_each_other_leaves_although_no_other_comes() {
    explore(|| {
        play(|model| {
            let call = |model: &Arc<Model>| {
                model.call_with_others(SOCKET);
                model.call_with_others(MEMORY);
            };
            let mut threads: Vec<_> = (0..2).map(|_| spawn(model, call)).collect();
            threads.push(spawn(model, |model| {
                model.call_that_takes(Duration::from_millis(2), Vec::new());
            }));
            threads
        });
    });
}

#[test]
fn what_callers_keep_back_is_sent_by_one_of_them_while_others_wait_for_long() {
    explore(|| {
        play(|model| {
            let long = |model: &Arc<Model>| {
                model.call_that_takes(Duration::from_millis(6), Vec::new());
            };
            let call = |model: &Arc<Model>| {
                model.kernel.sleep(Duration::from_micros(4_900));
                for _ in 0..3 {
                    model.call_with_others(SOCKET);
                }
            };
            vec![
                spawn(model, long),
                spawn(model, long),
                spawn(model, call),
                spawn(model, call),
            ]
        });
    });
}

#[test]
fn what_is_kept_back_leaves_although_nobody_waits_for_it() {
    explore(|| {
        play(|model| {
            let first = spawn(model, |model| model.call_for(MEMORY));
            vec![spawn(model, |model| {
                model.call_that_takes(Duration::ZERO, vec![first]);
                model.call_for(SOCKET);
            })]
        });
    });
}

/// Orders tried at random for each story.
const ORDERS: usize = 400;
/// Steps of a story; the longest takes some hundred, and an endless helper more than this.
const STEPS_MAX: usize = 40_000;

#[test]
fn who_waits_for_a_descriptor_beside_a_call_is_told_of_both() {
    explore(|| {
        play(|model| {
            let call = |model: &Arc<Model>| {
                model.call(SOCKET);
                model.call(MEMORY);
            };
            let mut threads = vec![spawn(model, |model| {
                model.call_beside();
                model.call_beside();
            })];
            threads.extend((0..2).map(|_| spawn(model, call)));
            threads
        });
    });
}

#[test]
fn what_comes_to_a_descriptor_is_told_by_whoever_polls() {
    explore(|| {
        play(|model| {
            let beside = spawn(model, |model| model.call_beside());
            vec![spawn(model, |model| {
                model.call_that_takes(Duration::ZERO, vec![beside]);
            })]
        });
    });
}

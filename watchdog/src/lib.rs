//! Input-free jobs and their schedule.

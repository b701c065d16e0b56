//! Schema changes, one file each, additive first. A database with a newer schema is refused.

use sea_orm_migration::prelude::*;

/// All migrations in order.
pub(crate) struct Migrator;

#[async_trait::async_trait]
impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![
            Box::new(Script {
                name: "m0001_begin",
                sql: include_str!("m0001_begin.sql"),
            }),
            Box::new(Script {
                name: "m0002_machines",
                sql: include_str!("m0002_machines.sql"),
            }),
            Box::new(Script {
                name: "m0003_amend",
                sql: include_str!("m0003_amend.sql"),
            }),
            Box::new(Script {
                name: "m0004_applied_by",
                sql: include_str!("m0004_applied_by.sql"),
            }),
            Box::new(Script {
                name: "m0005_ledger_fault",
                sql: include_str!("m0005_ledger_fault.sql"),
            }),
            Box::new(Script {
                name: "m0006_active_leases",
                sql: include_str!("m0006_active_leases.sql"),
            }),
            Box::new(Script {
                name: "m0007_column_names",
                sql: include_str!("m0007_column_names.sql"),
            }),
            Box::new(Script {
                name: "m0008_row_version",
                sql: include_str!("m0008_row_version.sql"),
            }),
            Box::new(Script {
                name: "m0009_outbox",
                sql: include_str!("m0009_outbox.sql"),
            }),
            Box::new(Script {
                name: "m0010_lists",
                sql: include_str!("m0010_lists.sql"),
            }),
            Box::new(Script {
                name: "m0011_host_settings",
                sql: include_str!("m0011_host_settings.sql"),
            }),
        ]
    }
}

/// A migration in one SQL file.
struct Script {
    name: &'static str,
    sql: &'static str,
}

impl MigrationName for Script {
    fn name(&self) -> &str {
        self.name
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Script {
    /// All or nothing: a migration that stopped half-way, for example on a full disk, could never run again.
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager
            .get_connection()
            .execute_unprepared(self.sql)
            .await
            .map(drop)
    }

    async fn down(&self, _: &SchemaManager) -> Result<(), DbErr> {
        Err(DbErr::Migration(
            "downgrades are not supported; restore a backup of the previous version".to_owned(),
        ))
    }
}

#[cfg(test)]
mod tests;

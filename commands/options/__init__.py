"""Options that several subcommands share: their types, their rules, and the sentences that refuse them."""

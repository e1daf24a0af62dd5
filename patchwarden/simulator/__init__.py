"""The simulator: an organisation's fleet on a virtual clock, and the AWS API that it answers under unmodified boto3."""

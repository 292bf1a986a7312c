"""The permissions of the admin pages; no table."""

from django.db import migrations, models


class Migration(migrations.Migration):
    """Makes the content type and the permissions of ``Job``."""

    initial = True

    dependencies = []

    operations = [
        migrations.CreateModel(
            name="Job",
            fields=[("key", models.TextField(primary_key=True, serialize=False))],
            options={
                "verbose_name_plural": "queues and jobs",
                "managed": False,
                "default_permissions": ("view", "change", "delete"),
                "base_manager_name": "objects",
            },
        ),
    ]

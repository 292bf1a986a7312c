"""The two tables of the index."""

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    """Create them."""

    initial = True

    dependencies = []

    operations = [
        migrations.CreateModel(
            name="Module",
            fields=[
                (
                    "id",
                    models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID"),
                ),
                ("path", models.CharField(max_length=255, unique=True)),
                ("name", models.CharField(max_length=255)),
                (
                    "problem",
                    models.CharField(blank=True, help_text="Why it cannot be parsed.", max_length=200),
                ),
                ("indexed_at", models.DateTimeField(auto_now=True)),
            ],
            options={
                "ordering": ["path"],
            },
        ),
        migrations.CreateModel(
            name="Definition",
            fields=[
                (
                    "id",
                    models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID"),
                ),
                (
                    "kind",
                    models.CharField(
                        choices=[
                            ("module", "Module"),
                            ("class", "Class"),
                            ("function", "Function"),
                            ("method", "Method"),
                        ],
                        max_length=8,
                    ),
                ),
                ("name", models.CharField(max_length=255)),
                ("qualified_name", models.CharField(db_index=True, max_length=500)),
                ("line", models.PositiveIntegerField()),
                ("signature", models.CharField(blank=True, max_length=300)),
                ("docstring", models.TextField(blank=True)),
                (
                    "module",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="definitions",
                        to="codeindex.module",
                    ),
                ),
            ],
            options={
                "ordering": ["qualified_name", "id"],
            },
        ),
    ]
